package evaluate

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/pacl/pacl/imaging"
)

type sharer struct {
	masks  map[*imaging.Image]*imaging.Mask
	shares map[*imaging.Image][]float32
}

func (s sharer) SegmentShares(_ context.Context, photo *imaging.Image) (*imaging.Mask, []float32, error) {
	return s.masks[photo], s.shares[photo], nil
}

// A sweep gives what segmenting at each threshold alone gives.
func TestSweep(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 3))
	s := sharer{map[*imaging.Image]*imaging.Mask{}, map[*imaging.Image][]float32{}}
	d := &Dataset{Title: "test", Background: 0, Classes: []Class{{Name: "background"}, {Name: "a"}, {Name: "b"}}}
	for range 3 {
		photo := &imaging.Image{Width: 20, Height: 10, Pix: make([]uint8, 600)}
		truth, mask := &imaging.Mask{Width: 20, Height: 10}, &imaging.Mask{Width: 20, Height: 10}
		for range 200 {
			class, share := uint16(r.IntN(3)), float32(r.IntN(11))/10
			truth.ID = append(truth.ID, class)
			if class == 0 {
				class, share = uint16(r.IntN(4)), share/2
			}
			mask.ID = append(mask.ID, class)
			s.shares[photo] = append(s.shares[photo], share)
		}
		truth.ID[3] = Ignored
		s.masks[photo] = mask
		d.Items = append(d.Items, Item{Key: "x", make: func() (*imaging.Image, *imaging.Mask, error) { return photo, truth, nil }})
	}
	points, best, err := Sweep(t.Context(), d, s, []float64{0.5, 0, 0.25, 1, 0.5}, RunOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(points) != 4 || points[0].Threshold != 0 || points[3].Threshold != 1 {
		t.Fatalf("points %v", points)
	}
	for _, p := range points {
		alone := SegmenterFunc(func(_ context.Context, photo *imaging.Image) (*imaging.Mask, error) {
			mask := &imaging.Mask{Width: 20, Height: 10}
			for i, id := range s.masks[photo].ID {
				if float64(s.shares[photo][i]) < p.Threshold {
					id = NoClass
				}
				mask.ID = append(mask.ID, id)
			}
			return mask, nil
		})
		want, err := Segmentation(t.Context(), d, alone, Protocol{}, RunOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if p.MIoU != want.MIoU {
			t.Errorf("threshold %v: mIoU %v, alone %v", p.Threshold, p.MIoU, want.MIoU)
		}
		if p.MIoU > best.MIoU {
			t.Errorf("the best point is %v, but %v is better", best, p)
		}
	}
	d.Background = -1
	if _, _, err := Sweep(t.Context(), d, s, []float64{0.5}, RunOptions{}); err == nil {
		t.Error("a threshold was swept without a background")
	}
}
