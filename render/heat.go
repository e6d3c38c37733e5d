package render

import (
	"fmt"
	"image/color"
	"math"

	"github.com/pacl/pacl/imaging"
)

// inferno is matplotlib's colour map of that name at nine places (CC0), dark to light.
var inferno = []color.RGBA{
	{0, 0, 4, 255}, {31, 12, 72, 255}, {85, 15, 109, 255}, {136, 34, 106, 255}, {186, 54, 85, 255},
	{227, 89, 51, 255}, {249, 140, 10, 255}, {249, 201, 50, 255}, {252, 255, 164, 255},
}

// HeatColor is the colour of a value from 0 to 1.
func HeatColor(value float64) color.RGBA {
	if !(value > 0) {
		value = 0
	}
	place := min(value, 1) * float64(len(inferno)-1)
	i := min(int(place), len(inferno)-2)
	f := place - float64(i)
	mix := func(a, b uint8) uint8 { return uint8(math.Round(float64(a) + f*(float64(b)-float64(a)))) }
	a, b := inferno[i], inferno[i+1]
	return color.RGBA{mix(a.R, b.R), mix(a.G, b.G), mix(a.B, b.B), 255}
}

// Heatmap shows values [Height, Width], scaled so that the largest is 1, as colours over the photo in gray.
func Heatmap(photo *imaging.Image, values []float32) (*imaging.Image, error) {
	if len(values) != photo.Width*photo.Height {
		return nil, fmt.Errorf("heat map: %d values on a photo of %dx%d", len(values), photo.Width, photo.Height)
	}
	largest := float32(0)
	for _, v := range values {
		largest = max(largest, v)
	}
	if !(largest > 0) {
		largest = 1
	}
	var table [256]color.RGBA
	for i := range table {
		table[i] = HeatColor(float64(i) / 255)
	}
	result := imaging.New(photo.Width, photo.Height)
	for i, v := range values {
		p, dst := photo.Pix[3*i:3*i+3], result.Pix[3*i:3*i+3]
		gray := (299*int32(p[0]) + 587*int32(p[1]) + 114*int32(p[2])) / 1000
		c := table[uint8(255*min(max(v/largest, 0), 1))]
		dst[0] = uint8((gray*77 + int32(c.R)*179) >> 8)
		dst[1] = uint8((gray*77 + int32(c.G)*179) >> 8)
		dst[2] = uint8((gray*77 + int32(c.B)*179) >> 8)
	}
	return result, nil
}
