package kernel

// pixelBytes is how many bytes a pixel of a filtered row has: red, green and blue.
const pixelBytes = 3

// weightBits are the fraction bits of the weights of rows.
const weightBits = 22

// WeighRows sums rows of bytes, stride apart in src, under weights of 22 fraction bits, as resampling does:
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
			sums[i] = 1 << (weightBits - 1)
		}
		for k, w := range weights {
			for i, v := range src[k*stride+from:][:n] {
				sums[i] += int32(v) * w
			}
		}
		for i, sum := range sums[:n] {
			dst[from+i] = byte(min(max(sum>>weightBits, 0), 255))
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
