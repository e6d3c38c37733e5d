package pacl

import (
	"context"
	"math"
	"testing"

	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/internal/testdata"
	"github.com/pacl/pacl/readout"
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
	for _, o := range []ImageOptions{{}, {Size: 64}, {Size: 64, Window: 32}, {Size: 32, Scales: 3, Mirror: On}, {Size: 64, Window: 32, Scales: 2}} {
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

// Several looks at a photo are the mean of each by itself, at the patches of the finest.
func TestLooksAreAveraged(t *testing.T) {
	model, err := Open(context.Background(), Options{Model: testdata.Golden(t, "models", "tiny-clip-hf"), Precision: "f32"})
	if err != nil {
		t.Fatal(err)
	}
	photo := imaging.New(90, 64)
	for p := range photo.Pix {
		photo.Pix[p] = uint8(p * p / 7)
	}
	encode := func(photo *imaging.Image, o ImageOptions) *Encoded {
		e, err := model.Encode(context.Background(), photo, o)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	got := encode(photo, ImageOptions{Size: 32, Scales: 2, Mirror: On})
	var looks []*Encoded
	for _, size := range []int{32, 45} { // 45: the root of 2 larger, rounded to patches by the encoder's rule
		mirrored := encode(photo.FlipHorizontal(), ImageOptions{Size: size})
		mirrored.Geometry.Mirror(mirrored.Patches, mirrored.Width)
		looks = append(looks, mirrored, encode(photo, ImageOptions{Size: size}))
	}
	if got.Geometry != looks[3].Geometry {
		t.Fatalf("geometry %+v, expected that of the finest %+v", got.Geometry, looks[3].Geometry)
	}
	want := make([]float64, len(got.Patches))
	for _, e := range looks {
		vectors, err := readout.Resample(e.Patches, e.Width, e.Geometry, got.Geometry)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range vectors {
			want[i] += float64(v) / 4
		}
	}
	for i, v := range got.Patches {
		if math.Abs(float64(v)-want[i]) > 1e-6 {
			t.Fatalf("value %d is %g, expected %g", i, v, want[i])
		}
	}
	for _, bad := range []int{-1, MaxScales + 1} {
		if _, err := model.Encode(context.Background(), photo, ImageOptions{Scales: bad}); err == nil {
			t.Errorf("%d scales are taken", bad)
		}
	}
}
