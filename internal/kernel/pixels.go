package kernel

// pixelBytes is how many bytes a pixel has: red, green and blue.
const pixelBytes = 3

// WeightBits are the fraction bits of the weights that WeighRows takes.
const WeightBits = 22

// WeighRows sums rows of bytes, stride apart in src, under weights of WeightBits fraction bits, as resampling does:
//
//	dst[i] = the whole part of 1/2 + sum over k of weights[k]*src[k*stride+i], no less than 0 and no more than 255
//
// Sums are kept in 32 bits.
func WeighRows(dst, src []byte, stride int, weights []int32) {
	if len(dst) == 0 {
		return
	}
	if len(weights) == 0 || stride < 0 {
		panic("kernel: a sum of no rows")
	}
	_ = src[(len(weights)-1)*stride+len(dst)-1]
	active.weighRows(dst, src, stride, weights)
}

// Paeth sets dst to a row of RGB pixels less, byte by byte, what PNG's filter of that name foresees of it, of the row above and of the
// pixels to the left. Rows have whole pixels.
func Paeth(dst, row, above []byte) {
	checkLen("filtered row", len(dst), len(row))
	checkLen("row above", len(above), len(row))
	if len(row)%pixelBytes != 0 {
		panic("kernel: a row of broken pixels")
	}
	active.paeth(dst, row, above)
}

// YCbCrToRGB converts pixels by JFIF's equations with 16 fraction bits; dst has three bytes for each.
func YCbCrToRGB(dst, luma, cb, cr []byte) {
	checkLen("pixels", len(dst), pixelBytes*len(luma))
	checkLen("chroma", len(cb), len(luma))
	checkLen("chroma", len(cr), len(luma))
	active.toRGB(dst, luma, cb, cr)
}

// UpsampleChroma sets dst to what lies between the middles of the first and the last of a row's samples of chroma, one at least, when
// they are doubled both ways by the triangle filter: with s = 3*near + far,
//
//	dst[2*c] = (3*s[c] + s[c+1] + 7) / 16, dst[2*c+1] = (3*s[c+1] + s[c] + 8) / 16
//
// near is the row that the pixels lie in, far the nearest other one.
func UpsampleChroma(dst, near, far []byte) {
	checkLen("chroma", len(far), len(near))
	checkLen("doubled chroma", len(dst), 2*len(near)-2)
	active.upsample(dst, near, far)
}

// Transpose writes a block of up to 32 rows of numbers, stride apart in src, column by column: dst[32*x+y] = src[y*stride+x] for the
// rows that there are and 0 for those that there are not. dst has the 32*width numbers of the columns.
func Transpose(dst, src []uint32, rows, width, stride int) {
	if rows < 1 || rows > panelWidth || width < 1 || stride < width {
		panic("kernel: transposition of a block that is none")
	}
	_, _ = dst[panelWidth*width-1], src[(rows-1)*stride+width-1]
	active.packRows32(address(&dst[0]), address(&src[0]), rows, width, 4*uintptr(stride))
}

// HasVectors says whether the set in use has vectors: what is only worth while with them should not be done without.
func HasVectors() bool { return active != &portable }

func weighRowsGo(dst, src []byte, stride int, weights []int32) {
	var sums [64]int32
	for from := 0; from < len(dst); from += len(sums) {
		n := min(len(dst)-from, len(sums))
		for i := range n {
			sums[i] = 1 << (WeightBits - 1)
		}
		for k, w := range weights {
			for i, v := range src[k*stride+from:][:n] {
				sums[i] += int32(v) * w
			}
		}
		for i, sum := range sums[:n] {
			dst[from+i] = byte(min(max(sum>>WeightBits, 0), 255))
		}
	}
}

func paethRowGo(dst, row, above []byte) { paethGo(dst, row, above, pixelBytes) }

// paethGo filters the first pixel of a row and the bytes from done on.
func paethGo(dst, row, above []byte, done int) {
	dst, above = dst[:len(row)], above[:len(row)]
	for i := range min(pixelBytes, len(row)) {
		dst[i] = row[i] - above[i]
	}
	for i := done; i < len(row); i++ {
		left, up, corner := int(row[i-pixelBytes]), int(above[i]), int(above[i-pixelBytes])
		toLeft, toUp, toCorner := distance(up, corner), distance(left, corner), distance(left+up, 2*corner)
		nearest := left
		if toUp < toLeft {
			nearest = up
		}
		if toCorner < min(toLeft, toUp) {
			nearest = corner
		}
		dst[i] = row[i] - byte(nearest)
	}
}

func distance(a, b int) int { return max(a-b, b-a) }

func toRGBGo(dst, luma, cb, cr []byte) {
	clamp := func(v int32) byte { return byte(min(max(v>>16, 0), 255)) }
	for x, l := range luma {
		y, u, v := int32(l)<<16+1<<15, int32(cb[x])-128, int32(cr[x])-128
		p := dst[pixelBytes*x:][:pixelBytes]
		p[0], p[1], p[2] = clamp(y+91881*v), clamp(y-22554*u-46802*v), clamp(y+116130*u)
	}
}

func upsampleGo(dst, near, far []byte) {
	sum := func(c int) int32 { return 3*int32(near[c]) + int32(far[c]) }
	here := sum(0)
	for c := range len(near) - 1 {
		next := sum(c + 1)
		dst[2*c], dst[2*c+1] = byte((3*here+next+7)>>4), byte((3*next+here+8)>>4)
		here = next
	}
}
