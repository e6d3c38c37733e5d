package pacl

import (
	"context"
	"testing"

	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/internal/testdata"
)

// TestEncodeBatch encodes photos of several shapes together and alone.
func TestEncodeBatch(t *testing.T) {
	model, err := Open(context.Background(), Options{Model: testdata.Golden(t, "models", "tiny-clip-hf"), Precision: "f32"})
	if err != nil {
		t.Fatal(err)
	}
	var photos []*imaging.Image
	for i, size := range [][2]int{{60, 40}, {40, 60}, {60, 40}, {90, 60}} {
		photo := imaging.New(size[0], size[1])
		for p := range photo.Pix {
			photo.Pix[p] = uint8(p * (i + 3))
		}
		photos = append(photos, photo)
	}
	for _, o := range []ImageOptions{{}, {Size: 64}, {Size: 64, Window: 32}} {
		together, err := model.EncodeBatch(context.Background(), photos, o)
		if err != nil {
			t.Fatal(err)
		}
		for i, photo := range photos {
			alone, err := model.Encode(context.Background(), photo, o)
			if err != nil {
				t.Fatal(err)
			}
			if together[i].Geometry != alone.Geometry || together[i].Width != alone.Width || len(together[i].Patches) != len(alone.Patches) {
				t.Fatalf("%+v: photo %d: %+v, alone %+v", o, i, together[i].Geometry, alone.Geometry)
			}
			for p, v := range alone.Patches {
				if together[i].Patches[p] != v {
					t.Fatalf("%+v: photo %d: value %d is %v, alone %v", o, i, p, together[i].Patches[p], v)
				}
			}
		}
	}
}
