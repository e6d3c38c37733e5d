// Package render draws what the program found: overlays with legends, heat maps and curves.
package render

import (
	"image/color"
	"math"
)

// first are the colours of the first labels: Okabe and Ito's, which the colour-blind tell apart, made lighter where they
// would be lost on photos.
var first = []color.RGBA{
	{230, 159, 0, 255}, {86, 180, 233, 255}, {0, 158, 115, 255}, {240, 228, 66, 255}, {30, 100, 220, 255},
	{213, 94, 0, 255}, {204, 121, 167, 255}, {148, 103, 189, 255}, {140, 200, 75, 255}, {120, 94, 60, 255},
}

// Background is the colour of pixels that belong to no label.
var Background = color.RGBA{0, 0, 0, 255}

// Color is the colour of a label by its place in the list. It is the same in all pictures.
func Color(label int) color.RGBA {
	if label < len(first) {
		return first[label]
	}
	// Hues a golden angle apart; lightness and saturation go round by other numbers than hues come near each other.
	i := label - len(first)
	hue := math.Mod(0.13+float64(i)*0.61803398875, 1)
	value := [...]float64{0.95, 0.6, 0.8, 0.68}[i%4]
	saturation := [...]float64{0.75, 0.5, 0.9}[i%3]
	return fromHSV(hue, saturation, value)
}

func fromHSV(h, s, v float64) color.RGBA {
	channel := func(n float64) uint8 {
		k := math.Mod(n+h*6, 6)
		return uint8(math.Round(255 * (v - v*s*max(0, min(k, 4-k, 1)))))
	}
	return color.RGBA{channel(5), channel(3), channel(1), 255}
}

// Palette returns the colours of n labels and the background behind them, for an indexed PNG.
func Palette(n int) color.Palette {
	palette := make(color.Palette, 0, n+1)
	for label := range min(n, 255) {
		palette = append(palette, Color(label))
	}
	return append(palette, Background)
}
