package imaging

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	_ "image/jpeg" // registers the format
	_ "image/png"  // registers the format
	"os"
	"strings"

	_ "golang.org/x/image/bmp"  // registers the format
	_ "golang.org/x/image/tiff" // registers the format
	_ "golang.org/x/image/webp" // registers the format
)

// Limits bound what a picture may ask for. The zero value stands for the defaults.
type Limits struct {
	Pixels int64 // width x height, 128 million if 0
	Bytes  int64 // size of the file, 512 MiB if 0
}

func (l Limits) pixels() int64 {
	if l.Pixels > 0 {
		return l.Pixels
	}
	return 128e6
}

func (l Limits) bytes() int64 {
	if l.Bytes > 0 {
		return l.Bytes
	}
	return 512 << 20
}

// Open reads and decodes a picture file.
func Open(path string) (*Image, error) {
	data, err := ReadFile(path, Limits{})
	if err != nil {
		return nil, err
	}
	im, err := Decode(data, Limits{})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return im, nil
}

// ReadFile reads a picture file if it is within the limit of its bytes.
func ReadFile(path string, limits Limits) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("picture: %w", err)
	}
	if info.IsDir() {
		return nil, fmt.Errorf("picture %s is a folder", path)
	}
	if info.Size() > limits.bytes() {
		return nil, fmt.Errorf("picture %s: %d bytes, at most %d are read", path, info.Size(), limits.bytes())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("picture: %w", err)
	}
	return data, nil
}

// DecodeConfig returns size and format without decoding; the size is the stored one, before EXIF turns it.
func DecodeConfig(data []byte) (width, height int, format string, err error) {
	config, format, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return 0, 0, "", explain(data, err)
	}
	return config.Width, config.Height, format, nil
}

// Decode decodes a JPEG, PNG, WebP, BMP, TIFF or the first frame of a GIF to RGB, upright by its EXIF orientation; alpha is
// dropped as Pillow's convert("RGB") drops it.
func Decode(data []byte, limits Limits) (*Image, error) {
	width, height, format, err := DecodeConfig(data)
	if err != nil {
		return nil, err
	}
	if width < 1 || height < 1 || int64(width) > limits.pixels()/int64(height) {
		return nil, fmt.Errorf("%s picture of %dx%d pixels, at most %d million pixels are decoded", format, width, height, limits.pixels()/1e6)
	}
	var decoded image.Image
	if format == "gif" {
		decoded, err = decodeGIF(data, width, height)
	} else {
		decoded, _, err = image.Decode(bytes.NewReader(data))
	}
	if err != nil {
		return nil, fmt.Errorf("%s picture is damaged or cut off: %w", format, err)
	}
	return toRGB(decoded, format == "webp").upright(orientation(data, format)), nil
}

// explain says of bytes that no decoder knows what they may be.
func explain(data []byte, err error) error {
	if !errors.Is(err, image.ErrFormat) {
		return fmt.Errorf("picture is damaged or cut off: %w", err)
	}
	if len(data) >= 12 && string(data[4:8]) == "ftyp" {
		brand := string(data[8:12])
		for _, known := range []string{"heic", "heix", "hevc", "mif1", "msf1", "avif", "avis"} {
			if brand == known {
				return fmt.Errorf("HEIC and AVIF pictures are not read: convert with `heif-convert photo.heic photo.jpg` or ImageMagick's `magick photo.heic photo.jpg`")
			}
		}
	}
	if len(data) == 0 {
		return errors.New("picture file is empty")
	}
	return errors.New("not a picture: expected JPEG, PNG, WebP, BMP, TIFF or GIF")
}

// decodeGIF places the first frame on the canvas, which it need not fill.
func decodeGIF(data []byte, width, height int) (image.Image, error) {
	frame, err := gif.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	paletted, ok := frame.(*image.Paletted)
	if !ok || paletted.Rect == image.Rect(0, 0, width, height) {
		return frame, nil
	}
	canvas := image.NewPaletted(image.Rect(0, 0, width, height), paletted.Palette)
	for y := paletted.Rect.Min.Y; y < min(paletted.Rect.Max.Y, height); y++ {
		for x := paletted.Rect.Min.X; x < min(paletted.Rect.Max.X, width); x++ {
			canvas.SetColorIndex(x, y, paletted.ColorIndexAt(x, y))
		}
	}
	return canvas, nil
}

// toRGB converts the types that the decoders return, each by its own fast way.
func toRGB(src image.Image, studio bool) *Image {
	bounds := src.Bounds()
	im := New(bounds.Dx(), bounds.Dy())
	switch src := src.(type) {
	case *image.YCbCr:
		convertYCbCr(im, src, studio)
	case *image.NYCbCrA:
		convertYCbCr(im, &src.YCbCr, studio)
	case *image.Gray:
		for y := range im.Height {
			row, dst := src.Pix[y*src.Stride:][:im.Width], im.Pix[3*y*im.Width:]
			for x, v := range row {
				dst[3*x], dst[3*x+1], dst[3*x+2] = v, v, v
			}
		}
	case *image.RGBA:
		copyRGB(im, src.Pix, src.Stride, 4, 1)
	case *image.NRGBA:
		copyRGB(im, src.Pix, src.Stride, 4, 1)
	case *image.NRGBA64:
		copyRGB(im, src.Pix, src.Stride, 8, 2)
	case *image.RGBA64:
		copyRGB(im, src.Pix, src.Stride, 8, 2)
	case *image.Paletted:
		convertPaletted(im, src)
	case *image.CMYK:
		convertCMYK(im, src)
	default:
		for y := range im.Height {
			for x := range im.Width {
				c := color.NRGBAModel.Convert(src.At(bounds.Min.X+x, bounds.Min.Y+y)).(color.NRGBA)
				copy(im.Pix[3*(y*im.Width+x):], []uint8{c.R, c.G, c.B})
			}
		}
	}
	return im
}

// copyRGB takes the first three channels of pixels of the given size; of channels of two bytes the upper one.
func copyRGB(im *Image, pix []uint8, stride, size, channel int) {
	for y := range im.Height {
		src, dst := pix[y*stride:][:size*im.Width], im.Pix[3*y*im.Width:][:3*im.Width]
		for len(dst) > 0 {
			dst[0], dst[1], dst[2] = src[0], src[channel], src[2*channel]
			dst, src = dst[3:], src[size:]
		}
	}
}

func convertPaletted(im *Image, src *image.Paletted) {
	var palette [256][3]uint8
	for i, c := range src.Palette {
		n := color.NRGBAModel.Convert(c).(color.NRGBA)
		palette[i&255] = [3]uint8{n.R, n.G, n.B}
	}
	for y := range im.Height {
		row, dst := src.Pix[y*src.Stride:][:im.Width], im.Pix[3*y*im.Width:]
		for x, index := range row {
			copy(dst[3*x:], palette[index][:])
		}
	}
}

func convertCMYK(im *Image, src *image.CMYK) {
	for y := range im.Height {
		row, dst := src.Pix[y*src.Stride:][:4*im.Width], im.Pix[3*y*im.Width:]
		for x := range im.Width {
			light := 255 - int32(row[4*x+3])
			for c := range 3 {
				v := int32(row[4*x+c])*light + 128
				dst[3*x+c] = uint8(light - (v+v>>8)>>8)
			}
		}
	}
}

// orientation reads the EXIF orientation of a JPEG, PNG or WebP, 1 where there is none.
func orientation(data []byte, format string) int {
	var exif []byte
	switch format {
	case "jpeg":
		exif = jpegEXIF(data)
	case "png":
		exif = chunkAfter(data, "eXIf", 8, func(size []byte) int { return int(size[0])<<24 | int(size[1])<<16 | int(size[2])<<8 | int(size[3]) }, -4)
	case "webp":
		exif = chunkAfter(data, "EXIF", 12, func(size []byte) int { return int(size[3])<<24 | int(size[2])<<16 | int(size[1])<<8 | int(size[0]) }, 4)
	default:
		return 1
	}
	return exifOrientation(bytes.TrimPrefix(exif, []byte("Exif\x00\x00")))
}

// chunkAfter finds the content of a chunk by its name in a PNG (the size stands before the name) or WebP (behind it).
func chunkAfter(data []byte, name string, start int, size func([]byte) int, sizeAt int) []byte {
	for at := start; at+8 <= len(data); {
		nameAt := at
		sizeBytes := data[at+4:]
		if sizeAt < 0 {
			nameAt, sizeBytes = at+4, data[at:]
		}
		length := size(sizeBytes)
		if length < 0 || length > len(data)-at-8 {
			return nil
		}
		if string(data[nameAt:nameAt+4]) == name {
			return data[at+8 : at+8+length]
		}
		at += 8 + length
		if sizeAt < 0 {
			at += 4 // checksum
		} else {
			at += length & 1 // padding
		}
	}
	return nil
}

func jpegEXIF(data []byte) []byte {
	for at := 2; at+4 <= len(data) && data[at] == 0xff; {
		marker, length := data[at+1], int(data[at+2])<<8|int(data[at+3])
		switch {
		case marker == 0xff:
			at++
			continue
		case marker == 0xda || length < 2 || at+2+length > len(data):
			return nil
		}
		if body := data[at+4 : at+2+length]; marker == 0xe1 && strings.HasPrefix(string(body[:min(6, len(body))]), "Exif\x00") {
			return body
		}
		at += 2 + length
	}
	return nil
}

func exifOrientation(tiff []byte) int {
	const tag = 0x0112
	if len(tiff) < 8 {
		return 1
	}
	get := func(at, size int) int {
		if at < 0 || at+size > len(tiff) {
			return -1
		}
		v := 0
		for i := range size {
			if tiff[0] == 'M' {
				v = v<<8 | int(tiff[at+i])
			} else {
				v |= int(tiff[at+i]) << (8 * i)
			}
		}
		return v
	}
	directory := get(4, 4)
	for i := range max(get(directory, 2), 0) {
		if entry := directory + 2 + 12*i; get(entry, 2) == tag {
			return get(entry+8, 2)
		}
	}
	return 1
}
