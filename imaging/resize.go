package imaging

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"unsafe"

	"github.com/pacl/pacl/internal/kernel"
)

// Filter is a resampling kernel.
type Filter uint8

// The filters that preprocessor files ask for.
const (
	Bilinear Filter = iota + 1
	Bicubic
)

func (f Filter) String() string {
	switch f {
	case Bilinear:
		return "bilinear"
	case Bicubic:
		return "bicubic"
	}
	return fmt.Sprintf("Filter(%d)", uint8(f))
}

// support is the filter's radius in pixels of the smaller of source and destination.
func (f Filter) support() float64 {
	if f == Bicubic {
		return 2
	}
	return 1
}

func (f Filter) weight(x float64) float64 {
	x = math.Abs(x)
	if f == Bilinear {
		return max(1-x, 0)
	}
	const a = -0.5
	switch {
	case x < 1:
		return ((a+2)*x-(a+3))*x*x + 1
	case x < 2:
		return (((x-5)*x+8)*x - 4) * a
	}
	return 0
}

// precision is the number of fraction bits of Pillow's 8-bit resampling (ImagingResampleHorizontal_8bpc), 32 - 8 - 2.
const precision = kernel.WeightBits

// taps are the source pixels and weights of each destination pixel along one side.
type taps struct {
	first  []int32 // [destination]
	weight []int32 // [destination, width], fixed point, zero behind a shorter support
	width  int
}

func newTaps(source, destination int, f Filter) taps {
	scale := float64(source) / float64(destination)
	filterScale := max(scale, 1)
	support := f.support() * filterScale
	width := int(math.Ceil(support))*2 + 1
	t := taps{first: make([]int32, destination), weight: make([]int32, destination*width), width: width}
	row := make([]float64, width)
	widest := 1
	for i := range destination {
		centre := (float64(i) + 0.5) * scale
		first := max(int(centre-support+0.5), 0)
		count := min(int(centre+support+0.5), source) - first
		sum := 0.0
		for k := range count {
			row[k] = f.weight((float64(k+first) - centre + 0.5) * (1 / filterScale))
			sum += row[k]
		}
		t.first[i] = int32(first)
		for k := range count {
			w := row[k]
			if sum != 0 {
				w *= 1 / sum
			}
			t.weight[i*width+k] = int32(w*(1<<precision) + math.Copysign(0.5, w))
		}
		widest = max(widest, count)
	}
	return t.trim(widest, source)
}

// trim drops the columns of weights that are zero everywhere and keeps all reads inside the source.
func (t taps) trim(width, source int) taps {
	result := taps{first: t.first, weight: make([]int32, len(t.first)*width), width: width}
	for i := range t.first {
		shift := max(int(t.first[i])+width-source, 0)
		result.first[i] -= int32(shift)
		copy(result.weight[i*width+shift:(i+1)*width], t.weight[i*t.width:])
	}
	return result
}

type tapsKey struct {
	source, destination int
	filter              Filter
}

// tapsCache keeps the last weights: photos of a collection share their sizes.
var tapsCache struct {
	sync.Mutex
	entries map[tapsKey]taps
}

func cachedTaps(source, destination int, f Filter) taps {
	key := tapsKey{source, destination, f}
	tapsCache.Lock()
	defer tapsCache.Unlock()
	t, ok := tapsCache.entries[key]
	if !ok {
		t = newTaps(source, destination, f)
		if tapsCache.entries == nil || len(tapsCache.entries) >= 64 {
			tapsCache.entries = make(map[tapsKey]taps)
		}
		tapsCache.entries[key] = t
	}
	return t
}

// Resize resamples to width x height exactly as Pillow's Image.resize does for 8-bit images: weights of 22 fraction bits,
// first along the rows, then along the columns, rounded to 8 bits after each.
func Resize(im *Image, width, height int, f Filter) *Image {
	if width < 1 || height < 1 || im.Width < 1 || im.Height < 1 {
		panic(fmt.Sprintf("imaging: resize %dx%d to %dx%d", im.Width, im.Height, width, height))
	}
	if width != im.Width {
		im = resizeRows(im, width, cachedTaps(im.Width, width, f))
	}
	if height != im.Height {
		im = resizeColumns(im, height, cachedTaps(im.Height, height, f))
	}
	return im
}

// resizeRows resamples along the rows.
func resizeRows(im *Image, width int, t taps) *Image {
	result := New(width, im.Height)
	if kernel.HasVectors() {
		resizeBlocks(result, im, t)
	} else {
		resizePairs(result, im, t)
	}
	return result
}

// blockRows is how many rows are transposed at once.
const blockRows = 32

// resizeBlocks turns blocks of rows by 90 degrees, so that along the rows is along the columns, whose sums vectors make. A pixel takes
// four bytes on the way.
func resizeBlocks(result, im *Image, t taps) {
	width := result.Width
	wide, turned := make([]uint32, blockRows*im.Width), make([]uint32, blockRows*im.Width)
	sums, tile := make([]uint32, blockRows*width), make([]uint32, blockRows*blockRows)
	for y := 0; y < im.Height; y += blockRows {
		rows := min(blockRows, im.Height-y)
		for row := range rows {
			widenPixels(wide[row*im.Width:][:im.Width], im.Pix[3*(y+row)*im.Width:])
		}
		kernel.Transpose(turned, wide, rows, im.Width, im.Width)
		for x, first := range t.first {
			kernel.WeighRows(bytesOf(sums[blockRows*x:][:blockRows]), bytesOf(turned[blockRows*first:]), 4*blockRows, t.weight[x*t.width:][:t.width])
		}
		for x := 0; x < width; x += blockRows {
			columns := min(blockRows, width-x)
			kernel.Transpose(tile, sums[blockRows*x:], columns, blockRows, blockRows)
			for row := range rows {
				narrowPixels(result.Pix[3*((y+row)*width+x):], tile[blockRows*row:][:columns])
			}
		}
	}
}

// widenPixels spreads the first pixels of RGB to four bytes each; what is in the fourth does not matter.
func widenPixels(dst []uint32, rgb []uint8) {
	last := len(dst) - 1
	for x := range last {
		dst[x] = binary.NativeEndian.Uint32(rgb[3*x:])
	}
	dst[last] = 0 // there is nothing behind the last pixel to read
	copy(bytesOf(dst[last:]), rgb[3*last:3*last+3])
}

// narrowPixels takes the fourth bytes away.
func narrowPixels(rgb []uint8, src []uint32) {
	last := len(src) - 1
	for x, pixel := range src[:last] {
		binary.NativeEndian.PutUint32(rgb[3*x:], pixel) // the next pixel puts its first byte in place of this one's fourth
	}
	copy(rgb[3*last:3*last+3], bytesOf(src[last:]))
}

// bytesOf are the bytes that numbers consist of, in the order that they have in memory.
func bytesOf(numbers []uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(numbers))), 4*len(numbers))
}

// resizePairs makes two rows at once, without vectors: a product of a weight and a number that holds a sample of each, 32 bits apart, is
// both products.
func resizePairs(result, im *Image, t taps) {
	width := result.Width
	pairs := make([][3]int64, im.Width)
	for y := 0; y < im.Height; y += 2 {
		next := min(y+1, im.Height-1) // the last row of an odd number is made twice
		upper, lower := im.Pix[3*y*im.Width:][:3*im.Width], im.Pix[3*next*im.Width:][:3*im.Width]
		for x := range pairs {
			p, q := upper[3*x:3*x+3:3*x+3], lower[3*x:3*x+3:3*x+3]
			pairs[x] = [3]int64{pair(p[0], q[0]), pair(p[1], q[1]), pair(p[2], q[2])}
		}
		upper, lower = result.Pix[3*y*width:][:3*width], result.Pix[3*next*width:][:3*width]
		for x, first := range t.first {
			weights := t.weight[x*t.width:][:t.width]
			const half = 1 << (precision - 1)
			r, g, b := int64(half|half<<32), int64(half|half<<32), int64(half|half<<32)
			for k, p := range pairs[first:][:len(weights)] {
				w := int64(weights[k])
				r += p[0] * w
				g += p[1] * w
				b += p[2] * w
			}
			p, q := upper[3*x:3*x+3:3*x+3], lower[3*x:3*x+3:3*x+3]
			p[0], q[0] = unpair(r)
			p[1], q[1] = unpair(g)
			p[2], q[2] = unpair(b)
		}
	}
}

func pair(a, b uint8) int64 { return int64(a) | int64(b)<<32 }

// unpair takes the sums of two rows apart and rounds them: what is negative in the lower half was borrowed from the upper one.
func unpair(sums int64) (a, b uint8) {
	low := int32(sums)
	return clip8(low), clip8(int32((sums - int64(low)) >> 32))
}

func clip8(v int32) uint8 {
	v >>= precision
	if uint32(v) <= 255 {
		return uint8(v)
	}
	if v < 0 {
		return 0
	}
	return 255
}

// resizeColumns resamples along the columns.
func resizeColumns(im *Image, height int, t taps) *Image {
	result := New(im.Width, height)
	stride := 3 * im.Width
	for y := range height {
		kernel.WeighRows(result.Pix[y*stride:][:stride], im.Pix[int(t.first[y])*stride:], stride, t.weight[y*t.width:(y+1)*t.width])
	}
	return result
}
