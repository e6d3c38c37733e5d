package imaging

import (
	"image"

	"github.com/pacl/pacl/internal/kernel"
)

// convertYCbCr converts planes to RGB. Chroma that is stored at half the size is up-sampled with the triangle filter that
// libjpeg calls fancy, so that results are close to other programs'. Studio planes, as WebP's, hold luma from 16 to 235.
func convertYCbCr(im *Image, src *image.YCbCr, studio bool) {
	cw, ch := src.CStride, 0
	if cw > 0 {
		ch = len(src.Cb) / cw
	}
	horizontal, vertical := chromaFactors(src.SubsampleRatio)
	chromaWidth := min((im.Width+horizontal-1)/horizontal, cw)
	chromaHeight := min((im.Height+vertical-1)/vertical, ch)
	cb, cr := make([]uint8, im.Width+1), make([]uint8, im.Width+1)
	doubled := make([]uint8, 2*chromaWidth)
	for y := range im.Height {
		upsampleChroma(cb[:im.Width], src.Cb, cw, chromaHeight, y, horizontal, vertical, doubled)
		upsampleChroma(cr[:im.Width], src.Cr, cw, chromaHeight, y, horizontal, vertical, doubled)
		row, dst := src.Y[y*src.YStride:][:im.Width], im.Pix[3*y*im.Width:][:3*im.Width]
		if studio {
			studioRow(dst, row, cb, cr)
		} else {
			kernel.YCbCrToRGB(dst, row, cb[:im.Width], cr[:im.Width])
		}
	}
}

func chromaFactors(ratio image.YCbCrSubsampleRatio) (horizontal, vertical int) {
	switch ratio {
	case image.YCbCrSubsampleRatio422:
		return 2, 1
	case image.YCbCrSubsampleRatio420:
		return 2, 2
	case image.YCbCrSubsampleRatio440:
		return 1, 2
	case image.YCbCrSubsampleRatio411:
		return 4, 1
	case image.YCbCrSubsampleRatio410:
		return 4, 2
	}
	return 1, 1
}

// upsampleChroma fills one full row of chroma. A chroma sample lies in the middle of the pixels that share it: a pixel
// takes 3/4 of its own and 1/4 of the nearest other sample along each halved side. doubled has room for two pixels a sample.
func upsampleChroma(dst, plane []uint8, stride, height, y, horizontal, vertical int, doubled []uint8) {
	near := min(y/vertical, height-1)
	row := plane[near*stride:][:len(doubled)/2]
	if horizontal != 2 {
		for x := range dst {
			dst[x] = row[min(x/horizontal, len(row)-1)]
		}
		return
	}
	if vertical == 1 {
		for x := range dst {
			c := x / 2
			other, bias := c-1, int32(1)
			if x%2 == 1 {
				other, bias = c+1, 2
			}
			if other < 0 || other >= len(row) {
				dst[x] = row[c]
				continue
			}
			dst[x] = uint8((3*int32(row[c]) + int32(row[other]) + bias) >> 2)
		}
		return
	}
	far := min(max(near-1+2*(y%2), 0), height-1)
	last := len(row) - 1
	kernel.UpsampleChroma(doubled[1:2*last+1], row, plane[far*stride:][:len(row)])
	end := func(c int, bias int32) uint8 {
		return uint8((4*(3*int32(row[c])+int32(plane[far*stride+c])) + bias) >> 4)
	}
	doubled[0], doubled[2*last+1] = end(0, 8), end(last, 7)
	for x := copy(dst, doubled); x < len(dst); x++ { // planes that are too narrow
		dst[x] = doubled[2*last+1]
	}
}

// studioRow converts by BT.601 with luma from 16 to 235 and chroma from 16 to 240.
func studioRow(dst, luma, cb, cr []uint8) {
	for x, l := range luma {
		y, u, v := 76309*(int32(l)-16)+1<<15, int32(cb[x])-128, int32(cr[x])-128
		r, g, b := (y+104597*v)>>16, (y-25675*u-53279*v)>>16, (y+132201*u)>>16
		p := dst[3*x : 3*x+3 : 3*x+3]
		p[0], p[1], p[2] = clamp8(r), clamp8(g), clamp8(b)
	}
}

func clamp8(v int32) uint8 {
	if uint32(v) <= 255 {
		return uint8(v)
	}
	return uint8(^(v >> 31))
}
