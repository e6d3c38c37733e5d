package pacl

import (
	"context"
	"fmt"
	"slices"

	"github.com/pacl/pacl/imaging"
)

// encodeOnce looks at photos once: at one size, not mirrored.
func (m *Model) encodeOnce(ctx context.Context, photos []*imaging.Image, o ImageOptions) ([]*Encoded, error) {
	type inputSize struct{ width, height int }
	together := make(map[inputSize][]int)
	results := make([]*Encoded, len(photos))
	for i, photo := range photos {
		plan, err := m.plan(photo, o)
		if err != nil {
			return nil, err
		}
		if len(plan.Windows) == 1 {
			size := inputSize{plan.InputW, plan.InputH}
			together[size] = append(together[size], i)
			continue
		}
		if results[i], err = m.encodeWindows(ctx, photo, plan); err != nil {
			return nil, err
		}
	}
	for size, members := range together {
		if err := m.encodeTogether(ctx, photos, members, size.width, size.height, o, results); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// encodeTogether encodes those photos whose places are given, all of which become inputs of width x height.
func (m *Model) encodeTogether(ctx context.Context, photos []*imaging.Image, members []int, width, height int, o ImageOptions,
	results []*Encoded) error {
	pixels := make([]float32, 0, len(members)*3*height*width) // [members, 3, height, width]
	stride := 0
	for _, i := range members {
		plan, err := m.plan(photos[i], o)
		if err != nil {
			return err
		}
		stride = plan.Stride
		results[i] = &Encoded{Geometry: plan.Geometry}
		pixels = m.vision.AppendPixels(pixels, imaging.Resize(photos[i], width, height, m.vision.Info().Resample))
	}
	patches, err := m.patches(ctx, pixels, len(members), height, width, stride)
	switch {
	case err != nil && len(members) > 1:
		return fmt.Errorf("%d photos together: %w", len(members), err)
	case err != nil:
		return err
	}
	each := len(patches) / len(members)
	for n, i := range members {
		e := results[i]
		e.Width = each / e.Geometry.Cells()
		e.Patches = patches[n*each : (n+1)*each]
		if len(members) > 1 {
			e.Patches = slices.Clone(e.Patches) // one photo that is kept shall not keep its whole batch
		}
	}
	return nil
}
