package imaging

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// gradient is a picture in which each pixel tells where it is.
func gradient(width, height int) *Image {
	im := New(width, height)
	for y := range height {
		for x := range width {
			copy(im.Pix[3*(y*width+x):], []uint8{uint8(x * 255 / width), uint8(y * 255 / height), 128})
		}
	}
	return im
}

func encodePNG(t testing.TB, im image.Image) []byte {
	var buffer bytes.Buffer
	if err := png.Encode(&buffer, im); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

func toRGBA(im *Image) *image.RGBA {
	rgba := image.NewRGBA(image.Rect(0, 0, im.Width, im.Height))
	for i := range im.Width * im.Height {
		copy(rgba.Pix[4*i:], im.Pix[3*i:3*i+3])
		rgba.Pix[4*i+3] = 255
	}
	return rgba
}

func encodeJPEG(t testing.TB, im *Image) []byte {
	var buffer bytes.Buffer
	if err := jpeg.Encode(&buffer, toRGBA(im), &jpeg.Options{Quality: 95}); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

// withOrientation puts an EXIF block into a JPEG.
func withOrientation(data []byte, order binary.AppendByteOrder, orientation uint16) []byte {
	mark := map[bool]string{true: "II", false: "MM"}[order == binary.LittleEndian]
	tiff := order.AppendUint32(order.AppendUint16([]byte(mark), 42), 8)
	tiff = order.AppendUint16(tiff, 1)
	tiff = order.AppendUint16(order.AppendUint16(tiff, 0x0112), 3)
	tiff = order.AppendUint16(order.AppendUint16(order.AppendUint32(tiff, 1), orientation), 0)
	body := append([]byte("Exif\x00\x00"), tiff...)
	segment := binary.BigEndian.AppendUint16([]byte{0xff, 0xe1}, uint16(len(body)+2))
	return append(append(append([]byte{}, data[:2]...), append(segment, body...)...), data[2:]...)
}

func TestOrientation(t *testing.T) {
	upright := gradient(40, 24)
	// stored[o] is how a camera that tags its picture with o stores the upright one.
	transpose := func(im *Image) *Image {
		result := New(im.Height, im.Width)
		for y := range im.Height {
			for x := range im.Width {
				r, g, b := im.At(x, y)
				copy(result.Pix[3*(x*im.Height+y):], []uint8{r, g, b})
			}
		}
		return result
	}
	flip := func(im *Image) *Image { return transpose(transpose(im).FlipHorizontal()) }
	stored := map[uint16]*Image{
		1: upright, 2: upright.FlipHorizontal(), 3: flip(upright.FlipHorizontal()), 4: flip(upright),
		5: transpose(upright), 6: flip(transpose(upright)), 7: flip(transpose(upright).FlipHorizontal()),
		8: transpose(upright).FlipHorizontal(),
	}
	for o, im := range stored {
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			got, err := Decode(withOrientation(encodeJPEG(t, im), order, o), Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if mean, _ := difference(t, got, upright); mean > 3 {
				t.Errorf("orientation %d (%v): mean difference %.1f", o, order, mean)
			}
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	// A PNG header that promises 60000 x 60000 pixels.
	bomb := []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR")
	bomb = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(bomb, 60000), 60000)
	bomb = append(bomb, 8, 2, 0, 0, 0)
	bomb = binary.BigEndian.AppendUint32(bomb, crc32.ChecksumIEEE(bomb[12:]))
	whole := encodeJPEG(t, gradient(64, 64))
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "empty"},
		{"text", []byte("hello, this is text"), "not a picture"},
		{"heic", []byte("\x00\x00\x00\x18ftypheic\x00\x00\x00\x00"), "convert with"},
		{"too large", bomb, "60000x60000 pixels, at most 128 million"},
		{"cut off", whole[:len(whole)/2], "damaged or cut off"},
		{"header only", whole[:20], "damaged or cut off"},
	}
	for _, test := range tests {
		if _, err := Decode(test.data, Limits{}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, expected %q", test.name, err, test.want)
		}
	}
}

func TestSmallAndOdd(t *testing.T) {
	for _, size := range [][2]int{{1, 1}, {1, 9}, {2, 1}, {17, 3}, {33, 31}} {
		im := New(size[0], size[1])
		for i := range im.Pix {
			im.Pix[i] = uint8(60 * (i%3 + 1))
		}
		got, err := Decode(encodeJPEG(t, im), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if mean, _ := difference(t, got, im); mean > 3 {
			t.Errorf("%v: mean difference %.1f", size, mean)
		}
		for _, f := range []Filter{Bilinear, Bicubic} {
			for _, to := range [][2]int{{1, 1}, {5, 2}, {64, 48}} {
				if r := Resize(im, to[0], to[1], f); len(r.Pix) != 3*to[0]*to[1] {
					t.Errorf("resize %v to %v: %d bytes", size, to, len(r.Pix))
				}
			}
		}
	}
}

func TestCMYK(t *testing.T) {
	src := image.NewCMYK(image.Rect(0, 0, 2, 1))
	copy(src.Pix, []uint8{0, 255, 255, 0, 0, 0, 0, 128})
	if diff := cmp.Diff([]uint8{255, 0, 0, 127, 127, 127}, toRGB(src, false).Pix); diff != "" {
		t.Error(diff)
	}
}

// A constant picture stays constant at any size, the mirror of a resized picture is the resized mirror, and rows, of which two are made
// at once, are resized as columns are.
func TestResizeLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, h := rapid.IntRange(1, 40).Draw(t, "w"), rapid.IntRange(1, 40).Draw(t, "h")
		toW, toH := rapid.IntRange(1, 60).Draw(t, "toW"), rapid.IntRange(1, 60).Draw(t, "toH")
		filter := rapid.SampledFrom([]Filter{Bilinear, Bicubic}).Draw(t, "filter")
		value := rapid.Byte().Draw(t, "value")
		im := New(w, h)
		for i := range im.Pix {
			im.Pix[i] = value
		}
		for _, v := range Resize(im, toW, toH, filter).Pix {
			if v != value {
				t.Fatalf("a constant %d became %d", value, v)
			}
		}
		copy(im.Pix, rapid.SliceOfN(rapid.Byte(), len(im.Pix), len(im.Pix)).Draw(t, "pixels"))
		mirrored, resized := Resize(im.FlipHorizontal(), toW, toH, filter).FlipHorizontal(), Resize(im, toW, toH, filter)
		for i, v := range mirrored.Pix {
			// Fixed-point weights are rounded alike on both sides; ties of the support's ends may fall differently.
			if d := int(v) - int(resized.Pix[i]); d < -1 || d > 1 {
				t.Fatalf("byte %d: %d mirrored, %d straight", i, v, resized.Pix[i])
			}
		}
		const transposed = 5
		wide, high := Resize(im, toW, h, filter), Resize(im.upright(transposed), h, toW, filter)
		if diff := cmp.Diff(wide.Pix, high.upright(transposed).Pix); diff != "" {
			t.Fatalf("rows, columns: %s", diff)
		}
	})
}

func TestMaskRoundTrip(t *testing.T) {
	palette := make(color.Palette, 256)
	for i := range palette {
		palette[i] = color.RGBA{uint8(i), uint8(i * 7), 3, 255}
	}
	for _, largest := range []int{0, 5, 255, 256, 40000} {
		mask := NewMask(13, 7)
		for i := range mask.ID {
			mask.ID[i] = uint16(i * largest / (len(mask.ID) - 1))
		}
		var buffer bytes.Buffer
		if err := EncodeMask(&buffer, mask, palette); err != nil {
			t.Fatal(err)
		}
		got, err := DecodeMask(buffer.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(mask, got); diff != "" {
			t.Errorf("largest id %d: %s", largest, diff)
		}
	}
	if err := EncodeMask(&bytes.Buffer{}, &Mask{1, 1, []uint16{9}}, palette[:3]); err == nil {
		t.Error("an id beyond the palette was accepted")
	}
	if _, err := DecodeMask(encodePNG(t, image.NewRGBA(image.Rect(0, 0, 2, 2)))); err == nil || !strings.Contains(err.Error(), "colours") {
		t.Errorf("a mask of colours: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	jpeg := encodeJPEG(f, gradient(9, 8))
	f.Add(jpeg)
	f.Add(withOrientation(jpeg, binary.BigEndian, 6))
	f.Add(encodePNG(f, image.NewGray16(image.Rect(0, 0, 3, 2))))
	f.Add([]byte("GIF89a"))
	f.Add([]byte("II*\x00\x08\x00\x00\x00"))
	f.Add([]byte("RIFF\x00\x00\x00\x00WEBPVP8 "))
	f.Fuzz(func(t *testing.T, data []byte) {
		limits := Limits{Pixels: 1 << 16}
		if im, err := Decode(data, limits); err == nil && len(im.Pix) != 3*im.Width*im.Height {
			t.Fatalf("%dx%d with %d bytes", im.Width, im.Height, len(im.Pix))
		}
		if w, h, _, err := DecodeConfig(data); err == nil && w*h <= 1<<16 {
			DecodeMask(data)
		}
	})
}

func BenchmarkDecodeAndResize(b *testing.B) {
	data := encodeJPEG(b, gradient(500, 375))
	for b.Loop() {
		im, err := Decode(data, Limits{})
		if err != nil {
			b.Fatal(err)
		}
		Resize(im, 304, 224, Bicubic)
	}
}

func BenchmarkResize(b *testing.B) {
	im := gradient(433, 433)
	for b.Loop() {
		resizeRows(im, 224, cachedTaps(433, 224, Bicubic))
	}
}

// TestResizeByBlocksAndPairs compares the two ways along the rows, with all numbers of rows around a block.
func TestResizeByBlocksAndPairs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		im := New(rapid.IntRange(1, 90).Draw(t, "width"), rapid.IntRange(1, 70).Draw(t, "height"))
		noise := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		for i := range im.Pix {
			im.Pix[i] = uint8(noise.Uint32() & 1 * 255) // extremes, where sums leave the range
		}
		width := rapid.IntRange(1, 100).Draw(t, "to")
		for _, f := range []Filter{Bilinear, Bicubic} {
			taps, blocks, pairs := cachedTaps(im.Width, width, f), New(width, im.Height), New(width, im.Height)
			resizeBlocks(blocks, im, taps)
			resizePairs(pairs, im, taps)
			if !bytes.Equal(blocks.Pix, pairs.Pix) {
				t.Fatalf("%dx%d to %d by %s: blocks and pairs differ", im.Width, im.Height, width, f)
			}
		}
	})
}
