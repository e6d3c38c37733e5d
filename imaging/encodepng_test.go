package imaging

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/png"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pacl/pacl/internal/testdata"
)

// What EncodePNG writes, image/png reads: noise of any size, whose differences go around zero at every byte.
func TestEncodePNGRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		im := New(rapid.IntRange(1, 40).Draw(t, "width"), rapid.IntRange(1, 20).Draw(t, "height"))
		copy(im.Pix, rapid.SliceOfN(rapid.Byte(), len(im.Pix), len(im.Pix)).Draw(t, "pixels"))
		if diff := cmp.Diff(im, throughPNG(t, im)); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestEncodePNGInManyChunks(t *testing.T) {
	im := New(311, 257)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range im.Pix {
		im.Pix[i] = byte(r.Uint32()) // what cannot be packed fills more than one chunk
	}
	if diff := cmp.Diff(im, throughPNG(t, im)); diff != "" {
		t.Fatal("another picture came back")
	}
}

// Drawings are looked through for repetitions, photos are not.
func TestEncodePNGOfDrawings(t *testing.T) {
	letters := New(400, 300)
	for i := range letters.Pix {
		x, y := i/3%letters.Width%40, i/3/letters.Width%30
		if x > 5 && x < 9 || y > 12 && y < 16 {
			letters.Pix[i] = byte(40 * (i%3 + 1))
		}
	}
	if diff := cmp.Diff(letters, throughPNG(t, letters)); diff != "" {
		t.Fatal("another picture came back")
	}
	size := func(im *Image) int {
		var buffer bytes.Buffer
		if err := EncodePNG(&buffer, im); err != nil {
			t.Fatal(err)
		}
		return buffer.Len()
	}
	// A byte without repetitions takes a bit at least.
	if got, least := size(letters), len(letters.Pix)/8; got > least/4 {
		t.Errorf("a drawing takes %d bytes, more than a quarter of the %d that it takes without repetitions", got, least)
	}
	if photo := noisyPhoto(400, 300); drawn([]Rows{photo}, 400) || !drawn([]Rows{letters}, 400) {
		t.Error("a photo is taken for a drawing, or the other way round")
	}
}

func throughPNG(t interface{ Fatal(...any) }, im *Image) *Image {
	var buffer bytes.Buffer
	if err := EncodePNG(&buffer, im); err != nil {
		t.Fatal(err)
	}
	decoded, err := png.Decode(&buffer)
	if err != nil {
		t.Fatal(err)
	}
	rgba, ok := decoded.(*image.RGBA)
	if !ok || buffer.Len() > 0 {
		t.Fatal("expected RGB pixels and nothing behind them")
	}
	got := New(rgba.Rect.Dx(), rgba.Rect.Dy())
	for i := range got.Width * got.Height {
		copy(got.Pix[3*i:], rgba.Pix[4*i:4*i+3])
	}
	return got
}

func TestMaskKeepsItsColours(t *testing.T) {
	palette := color.Palette{color.RGBA{1, 2, 3, 255}, color.NRGBA{250, 128, 0, 255}, color.Gray{77}}
	var buffer bytes.Buffer
	if err := EncodeMask(&buffer, &Mask{3, 1, []uint16{2, 0, 1}}, palette); err != nil {
		t.Fatal(err)
	}
	decoded, err := png.Decode(&buffer)
	if err != nil {
		t.Fatal(err)
	}
	for x, want := range []color.Color{palette[2], palette[0], palette[1]} {
		if color.RGBAModel.Convert(decoded.At(x, 0)) != color.RGBAModel.Convert(want) {
			t.Errorf("pixel %d is %v, expected %v", x, decoded.At(x, 0), want)
		}
	}
}

// Images below one another are the same file as the image that they make up.
func TestEncodePNGInParts(t *testing.T) {
	whole := noisyPhoto(50, 40)
	rows := func(from, to int) *Image {
		return &Image{Width: 50, Height: to - from, Pix: whole.Pix[from*150 : to*150]}
	}
	var want, got bytes.Buffer
	if err := EncodePNG(&want, whole); err != nil {
		t.Fatal(err)
	}
	if err := EncodePNG(&got, rows(0, 17), rows(17, 18), rows(18, 40)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Error("three parts make another file than the whole")
	}
}

// shortWriter takes so many bytes and then no more.
type shortWriter int

var errFull = errors.New("disk full")

func (w *shortWriter) Write(data []byte) (int, error) {
	if len(data) > int(*w) {
		return 0, errFull
	}
	*w -= shortWriter(len(data))
	return len(data), nil
}

func TestEncodePNGFails(t *testing.T) {
	im := gradient(40, 30)
	var whole bytes.Buffer
	if err := EncodePNG(&whole, im); err != nil {
		t.Fatal(err)
	}
	for space := range whole.Len() {
		w := shortWriter(space)
		if err := EncodePNG(&w, im); !errors.Is(err, errFull) {
			t.Fatalf("with space for %d of %d bytes: %v", space, whole.Len(), err)
		}
	}
	for _, below := range []*Image{New(39, 30), New(40, 0), {Width: 40, Height: 1, Pix: make([]byte, 119)}, {Width: 40, Height: 1, Pix: make([]byte, 240)}} {
		if err := EncodePNG(&whole, im, below); err == nil {
			t.Errorf("%dx%d pixels in %d bytes were written below 40x30", below.Width, below.Height, len(below.Pix))
		}
	}
	for _, im := range []*Image{New(0, 3), New(3, 0), {Width: 2, Height: 2, Pix: make([]byte, 11)}} {
		if err := EncodePNG(&whole, im); err == nil {
			t.Errorf("%dx%d pixels in %d bytes were written", im.Width, im.Height, len(im.Pix))
		}
	}
}

// noisyPhoto resembles a photo: shapes in light that changes slowly, and grain.
func noisyPhoto(width, height int) *Image {
	im := gradient(width, height)
	r := rand.New(rand.NewPCG(1, 3))
	for i := range im.Pix {
		x, y := i/3%width, i/3/width
		if (x/60+y/45)%3 == 0 {
			im.Pix[i] = 255 - im.Pix[i]
		}
		im.Pix[i] = uint8(min(255, max(0, float64(im.Pix[i])+4*r.NormFloat64())))
	}
	return im
}

// BenchmarkEncodePNG compares with image/png as it was used before: at its fastest for pictures, at its default for masks.
func BenchmarkEncodePNG(b *testing.B) {
	run := func(name string, encode func(io.Writer) error) {
		b.Run(name, func(b *testing.B) {
			var file bytes.Buffer
			for b.Loop() {
				file.Reset()
				if err := encode(&file); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(file.Len()), "bytes")
		})
	}
	pictures := func(name string, im *Image) {
		run(name+"/pacl", func(w io.Writer) error { return EncodePNG(w, im) })
		fastest := png.Encoder{CompressionLevel: png.BestSpeed}
		run(name+"/standard", func(w io.Writer) error { return fastest.Encode(w, toRGBA(im)) })
	}
	pictures("noise", noisyPhoto(500, 375))

	mask, palette := NewMask(500, 375), color.Palette{color.Gray{0}, color.Gray{100}, color.Gray{200}}
	paletted := image.NewPaletted(image.Rect(0, 0, mask.Width, mask.Height), palette)
	for i := range mask.ID {
		// Three labels with round borders.
		x, y := i%mask.Width-250, i/mask.Width-190
		mask.ID[i] = uint16(min(2, (x*x+y*y)/9000))
		paletted.Pix[i] = uint8(mask.ID[i])
	}
	run("mask/pacl", func(w io.Writer) error { return EncodeMask(w, mask, palette) })
	run("mask/standard", func(w io.Writer) error { return png.Encode(w, paletted) })

	photo, err := Open(testdata.Shared(b, "data", "voc2012-mini", "JPEGImages", "2007_000241.jpg")) // skips where there is none
	if err != nil {
		b.Fatal(err)
	}
	pictures("photo", photo)
}
