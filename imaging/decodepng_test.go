package imaging

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/png"
	"math/rand/v2"
	"testing"
)

// filteredPNG writes an 8-bit PNG whose rows have the filters given, in pieces of so many bytes a chunk.
func filteredPNG(w, h int, colour byte, raw []byte, chunk int) []byte {
	var b bytes.Buffer
	b.WriteString("\x89PNG\r\n\x1a\n")
	add := func(kind string, body []byte) {
		var head [8]byte
		binary.BigEndian.PutUint32(head[:], uint32(len(body)))
		copy(head[4:], kind)
		b.Write(head[:])
		b.Write(body)
		b.Write(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(append([]byte(kind), body...))))
	}
	header := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(w)), uint32(h))
	add("IHDR", append(header, 8, colour, 0, 0, 0))
	if colour == 3 {
		add("PLTE", make([]byte, 3*256))
	}
	add("tEXt", []byte("Comment\x00a mask"))
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	z.Write(raw)
	z.Close()
	for rest := packed.Bytes(); len(rest) > 0; rest = rest[min(chunk, len(rest)):] {
		add("IDAT", rest[:min(chunk, len(rest))])
	}
	add("IEND", nil)
	return b.Bytes()
}

// pngBytes is what image/png makes of a file.
func pngBytes(t testing.TB, data []byte) ([]byte, bool) {
	decoded, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, false
	}
	switch im := decoded.(type) {
	case *image.Gray:
		return im.Pix, true
	case *image.Paletted:
		return im.Pix, true
	}
	return nil, false
}

func TestPlainPNG(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		w, h := 1+r.IntN(40), 1+r.IntN(30)
		raw := make([]byte, 0, h*(w+1))
		for range h {
			raw = append(raw, byte(r.IntN(5)))
			for range w {
				raw = append(raw, byte(r.IntN(256)))
			}
		}
		data := filteredPNG(w, h, []byte{0, 3}[r.IntN(2)], raw, 1+r.IntN(200))
		want, ok := pngBytes(t, data)
		got, plain := decodePlainPNG(data, w, h)
		if !ok || !plain || !bytes.Equal(got, want) {
			t.Fatalf("%dx%d: read %v, image/png %v, equal %v", w, h, plain, ok, bytes.Equal(got, want))
		}
		// Whatever is damaged is left to image/png.
		data[8+r.IntN(len(data)-8)] ^= byte(1 + r.IntN(255))
		if got, plain := decodePlainPNG(data, w, h); plain {
			if want, ok := pngBytes(t, data); ok && !bytes.Equal(got, want) {
				t.Fatal("a changed file has other pixels")
			}
		}
	}
	for name, raw := range map[string][]byte{"too few rows": {0, 1, 2}, "too many": {0, 1, 2, 0, 3, 4, 0}, "filter 5": {5, 1, 2, 0, 3, 4}} {
		data := filteredPNG(2, 2, 0, raw, 100)
		if _, plain := decodePlainPNG(data, 2, 2); plain {
			t.Errorf("%s were read", name)
		}
		if _, err := DecodeMask(data); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzPlainPNG(f *testing.F) {
	f.Add(filteredPNG(3, 2, 3, []byte{1, 1, 2, 3, 4, 7, 8, 9}, 4))
	f.Add(filteredPNG(2, 3, 0, []byte{0, 1, 2, 2, 3, 4, 3, 5, 6}, 100))
	f.Fuzz(func(t *testing.T, data []byte) {
		w, h, format, err := DecodeConfig(data)
		if err != nil || format != "png" || w < 1 || h < 1 || w*h > 1<<16 {
			return
		}
		got, plain := decodePlainPNG(data, w, h)
		if want, ok := pngBytes(t, data); plain && ok && !bytes.Equal(got, want) {
			t.Errorf("%d bytes, image/png has %d others", len(got), len(want))
		}
	})
}
