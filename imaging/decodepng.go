package imaging

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
	"sync"

	"github.com/klauspost/compress/zlib"
)

const pngSignature = "\x89PNG\r\n\x1a\n"

// decodePlainPNG reads the pixels [height, width] of a PNG of one byte a pixel, palette index or gray, not interlaced: the
// form of nearly all masks, at a third of image/png's time. What it does not read, damaged files among it, is left to
// image/png.
func decodePlainPNG(data []byte, width, height int) (pixels []byte, ok bool) {
	if !bytes.HasPrefix(data, []byte(pngSignature)) {
		return nil, false
	}
	var (
		packed []byte
		before string // the chunk before
	)
	palette := true // there is one, or none is needed
	for rest := data[len(pngSignature):]; before != "IEND"; {
		if len(rest) < 12 {
			return nil, false
		}
		length := binary.BigEndian.Uint32(rest)
		if uint64(length) > uint64(len(rest)-12) {
			return nil, false
		}
		kind, body := string(rest[4:8]), rest[8:8+length]
		if binary.BigEndian.Uint32(rest[8+length:]) != crc32.ChecksumIEEE(rest[4:8+length]) {
			return nil, false
		}
		rest = rest[12+length:]
		switch {
		case before == "":
			// Bits a sample 8; colour type gray or palette; compression, filters and interlacing 0.
			if kind != "IHDR" || len(body) != 13 || body[8] != 8 || body[9] != 0 && body[9] != 3 || body[10] != 0 || body[11] != 0 || body[12] != 0 {
				return nil, false
			}
			palette = body[9] == 0
		case kind == "PLTE" && packed == nil:
			palette = true
		case kind == "IDAT" && palette && packed == nil:
			packed = body[:len(body):len(body)] // no copy of the usual single chunk
		case kind == "IDAT" && before == "IDAT":
			packed = append(packed, body...)
		case kind == "IEND" && packed != nil:
		case kind[0]&0x20 != 0: // ancillary: says nothing about ids
		default:
			return nil, false
		}
		before = kind
	}
	pixels, err := inflateRows(packed, width, height)
	return pixels, err == nil
}

// inflaters hold tables and windows that are worth keeping.
var inflaters = sync.Pool{}

// inflateRows unpacks rows of width bytes, each behind a byte that names its filter, and takes the filters off.
func inflateRows(packed []byte, width, height int) ([]byte, error) {
	input := bytes.NewReader(packed)
	inflater, _ := inflaters.Get().(io.ReadCloser)
	var err error
	if inflater == nil {
		inflater, err = zlib.NewReader(input)
	} else {
		err = inflater.(zlib.Resetter).Reset(input, nil)
	}
	if err != nil {
		return nil, err
	}
	defer inflaters.Put(inflater)
	pixels := make([]byte, 0, width*height)
	row, above := make([]byte, 1+width), make([]byte, width)
	for range height {
		if _, err := io.ReadFull(inflater, row); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if err := unfilter(row[0], row[1:], above); err != nil {
			return nil, err
		}
		pixels = append(pixels, row[1:]...)
		above = pixels[len(pixels)-width:]
	}
	// What follows must be the end: only then has the checksum of the whole been compared.
	if n, err := inflater.Read(row[:1]); n != 0 || !errors.Is(err, io.EOF) {
		if err == nil || errors.Is(err, io.EOF) {
			err = errors.New("too much pixel data")
		}
		return nil, err
	}
	return pixels, nil
}

// unfilter undoes a row's filter in place, for pixels of one byte.
func unfilter(kind byte, row, above []byte) error {
	switch kind {
	case 0: // none
	case 1: // left
		for x := 1; x < len(row); x++ {
			row[x] += row[x-1]
		}
	case 2: // above
		for x, v := range above {
			row[x] += v
		}
	case 3: // mean of left and above
		left := 0
		for x, v := range above {
			row[x] += uint8((left + int(v)) / 2)
			left = int(row[x])
		}
	case 4: // Paeth: of left, above and their corner the nearest to left + above - corner
		var left, corner int
		for x, v := range above {
			up := int(v)
			toLeft, toUp, toCorner := abs(up-corner), abs(left-corner), abs(left+up-2*corner)
			nearest := corner
			switch {
			case toLeft <= toUp && toLeft <= toCorner:
				nearest = left
			case toUp <= toCorner:
				nearest = up
			}
			row[x] += uint8(nearest)
			left, corner = int(row[x]), up
		}
	default:
		return fmt.Errorf("row filter %d is not known", kind)
	}
	return nil
}

// abs has no branch: which way it went would be guessed wrong half of the time.
func abs(v int) int {
	sign := v >> (bits.UintSize - 1)
	return (v ^ sign) - sign
}
