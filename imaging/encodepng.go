package imaging

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image/color"
	"io"
	"math"
	"sync"

	"github.com/klauspost/compress/zlib"

	"github.com/pacl/pacl/internal/kernel"
)

// Rows is a picture that is made row by row, as an Image is or what need not be kept as a whole.
type Rows interface {
	// Size is the width and height in pixels.
	Size() (width, height int)
	// Row sets dst [width, 3] to row y in RGB.
	Row(dst []uint8, y int)
}

// EncodePNG writes a picture as a PNG of 8-bit RGB, a photo in less than a tenth of image/png's time and in a tenth more bytes: that one tries
// five filters on every row, this one takes Paeth's, which photos want nearly always, and looks for repetitions in drawings only.
// Parts of the same width stand below one another. Some rows are asked for twice.
func EncodePNG(w io.Writer, parts ...Rows) error {
	width, height := 0, 0
	for i, part := range parts {
		partWidth, partHeight := part.Size()
		if i == 0 {
			width = partWidth
		}
		if partWidth != width || partHeight <= 0 {
			return fmt.Errorf("png: a part of %dx%d pixels below one of %d across", partWidth, partHeight, width)
		}
		if im, ok := part.(*Image); ok && len(im.Pix) != 3*partWidth*partHeight {
			return fmt.Errorf("png: %dx%d pixels in %d bytes, expected 3 a pixel", partWidth, partHeight, len(im.Pix))
		}
		height += partHeight
	}
	deflaters := photoDeflaters
	if drawn(parts, width) {
		deflaters = drawingDeflaters
	}
	at, above := 0, 0 // the part that rows come from, and the rows above it
	return writePNG(w, width, height, nil, deflaters, func(dst []byte, y int) {
		_, rows := parts[at].Size()
		if y-above == rows {
			at, above = at+1, y
		}
		parts[at].Row(dst, y-above)
	})
}

// pngChunk is how many bytes of packed rows are written at once.
const pngChunk = 1 << 16

// Deflaters hold tables and windows that are worth keeping. What filters leave of a photo repeats itself so little that to look for it
// takes two thirds of the time and saves a twelfth of the bytes. Below level 6 the package stores noise as it is, half as large
// again as it need be.
var (
	photoDeflaters   = deflaters(zlib.HuffmanOnly)
	drawingDeflaters = deflaters(6)
)

func deflaters(level int) *sync.Pool {
	return &sync.Pool{New: func() any {
		w, _ := zlib.NewWriterLevel(nil, level) // fails on unknown levels only
		return w
	}}
}

// writePNG writes RGB rows, or rows of indices of a palette of opaque colours, which row sets one after another.
func writePNG(w io.Writer, width, height int, palette color.Palette, deflaters *sync.Pool, row func(dst []byte, y int)) error {
	samples, kind := 3, byte(2)
	if palette != nil {
		samples, kind = 1, 3
	}
	if width <= 0 || height <= 0 || width > math.MaxInt32 || height > math.MaxInt32 {
		return fmt.Errorf("png of %dx%d pixels, expected at least one", width, height)
	}
	stride := width * samples
	chunks := &chunkWriter{w: w}
	_, chunks.err = io.WriteString(w, pngSignature)
	head := binary.BigEndian.AppendUint32(nil, uint32(width))
	head = binary.BigEndian.AppendUint32(head, uint32(height))
	chunks.write("IHDR", append(head, 8, kind, 0, 0, 0))
	if palette != nil {
		colours := make([]byte, 0, 3*len(palette))
		for _, c := range palette {
			r, g, b, _ := c.RGBA()
			colours = append(colours, byte(r>>8), byte(g>>8), byte(b>>8))
		}
		chunks.write("PLTE", colours)
	}
	now, above, filtered := make([]byte, stride), make([]byte, stride), make([]byte, 1+stride)
	buffered := bufio.NewWriterSize(chunks, pngChunk)
	deflater := deflaters.Get().(*zlib.Writer)
	defer deflaters.Put(deflater)
	deflater.Reset(buffered)
	for y := range height {
		row(now, y)
		if palette == nil {
			paeth(filtered, now, above)
		} else {
			up(filtered, now, above)
		}
		now, above = above, now
		if _, err := deflater.Write(filtered); err != nil {
			return err
		}
	}
	if err := deflater.Close(); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	chunks.write("IEND", nil)
	return chunks.err
}

// drawn says whether every other byte is what its neighbours let expect, as in drawings and texts. It looks at every eighth row.
func drawn(parts []Rows, width int) bool {
	now, above, filtered := make([]byte, 3*width), make([]byte, 3*width), make([]byte, 1+3*width)
	expected, all := 0, 0
	for _, part := range parts {
		_, height := part.Size()
		for y := 1; y < height; y += 8 {
			part.Row(above, y-1)
			part.Row(now, y)
			paeth(filtered, now, above)
			expected += bytes.Count(filtered, []byte{0})
			all += len(now)
		}
	}
	return 2*expected >= all
}

// paeth sets dst to a row of RGB pixels less, byte by byte, what Paeth's filter foresees, behind that filter's number.
func paeth(dst, row, above []byte) {
	dst[0] = 4
	kernel.Paeth(dst[1:1+len(row)], row, above[:len(row)])
}

// up sets dst to a row less the one above, behind that filter's number: where no label ends, zeros.
func up(dst, row, above []byte) {
	dst[0] = 2
	for i, v := range row {
		dst[1+i] = v - above[i]
	}
}

// chunkWriter writes chunks of a PNG until one fails; as a Writer, chunks of packed rows.
type chunkWriter struct {
	w   io.Writer
	err error
}

func (c *chunkWriter) Write(data []byte) (int, error) {
	c.write("IDAT", data)
	if c.err != nil {
		return 0, c.err
	}
	return len(data), nil
}

func (c *chunkWriter) write(kind string, body []byte) {
	if c.err != nil {
		return
	}
	head := append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), kind...)
	sum := crc32.Update(crc32.ChecksumIEEE(head[4:]), crc32.IEEETable, body)
	for _, part := range [][]byte{head, body, binary.BigEndian.AppendUint32(nil, sum)} {
		if _, c.err = c.w.Write(part); c.err != nil {
			return
		}
	}
}
