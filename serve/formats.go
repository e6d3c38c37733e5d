package serve

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"

	"github.com/pacl/pacl"
	"github.com/pacl/pacl/export"
	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/readout"
)

// segmentFormats are the formats of a segmentation; docs/service.md tells them apart.
var segmentFormats = []string{"json", "png", "gray", "overlay", "rle", "coco", "polygons", "labelme"}

type labelInfo struct {
	ID     int      `json:"id"`
	Name   string   `json:"name"`
	Words  []string `json:"words"`
	Colour string   `json:"color"`
}

type labelResult struct {
	labelInfo
	Pixels    int64   `json:"pixels"`
	Share     float64 `json:"share"`
	MeanScore float64 `json:"mean_score"`
}

type segmentAnswer struct {
	Model   string        `json:"model"`
	ImageID string        `json:"image_id,omitempty"`
	Width   int           `json:"width"`
	Height  int           `json:"height"`
	Labels  []labelResult `json:"labels"`
	// Background is the share of pixels without a label, which hold the number of labels in the mask.
	Background float64 `json:"background_share"`
	// Mask is an indexed PNG in base64: the label's id at each pixel.
	Mask string `json:"mask"`
}

func labelInfos(labels []pacl.Label) []labelInfo {
	infos := make([]labelInfo, len(labels))
	for i, label := range labels {
		c := colour(i)
		infos[i] = labelInfo{ID: i, Name: label.Name, Words: label.Words, Colour: fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B)}
	}
	return infos
}

func write(kind string, ready *prepared, photo *imaging.Image, result *readout.Segmentation, req *request) (*answer, error) {
	mask := &imaging.Mask{Width: result.Width, Height: result.Height, ID: result.ID}
	names := make([]string, len(ready.labels))
	scores := make([]float64, len(ready.labels))
	for i, label := range ready.labels {
		names[i], scores[i] = label.Name, result.Stats[i].MeanScore
	}
	base := stem(req.fileName)
	file := req.fileName
	if file == "" {
		file = "photo"
	}
	outlines := export.PolygonOptions{Tolerance: req.Options.Tolerance, MinArea: req.Options.MinArea}
	var value any
	var err error
	suffix := ""
	switch kind {
	case "png":
		body, err := indexedPNG(mask, len(names))
		return &answer{kind: "image/png", body: body, fileName: base + ".mask.png"}, err
	case "gray":
		var buffer bytes.Buffer
		err := export.WritePNG(&buffer, mask)
		return &answer{kind: "image/png", body: buffer.Bytes(), fileName: base + ".ids.png"}, err
	case "overlay":
		body, err := overlayPNG(photo, mask, len(names), req.Options.opacity())
		return &answer{kind: "image/png", body: body, fileName: base + ".overlay.png"}, err
	case "json":
		return segmentJSON(ready, mask, result)
	case "rle":
		value, err = export.Results(mask, names, scores, 1)
		suffix = ".rle.json"
	case "coco", "polygons":
		set := export.NewCOCO(names)
		shape := export.RunLengths
		if kind == "polygons" {
			shape = export.Outlines
		}
		err = set.Add(file, mask, shape, outlines)
		value, suffix = set, "."+kind+".json"
	case "labelme":
		value, err = export.NewLabelMe(file, mask, names, outlines)
		suffix = ".json"
	}
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	return &answer{kind: "application/json", body: body, fileName: base + suffix}, nil
}

func segmentJSON(ready *prepared, mask *imaging.Mask, result *readout.Segmentation) (*answer, error) {
	picture, err := indexedPNG(mask, len(ready.labels))
	if err != nil {
		return nil, err
	}
	made := segmentAnswer{
		Model: ready.model.name, Width: mask.Width, Height: mask.Height,
		Background: result.Stats[len(ready.labels)].Share, Mask: base64.StdEncoding.EncodeToString(picture),
	}
	for i, info := range labelInfos(ready.labels) {
		stat := result.Stats[i]
		made.Labels = append(made.Labels, labelResult{info, stat.Pixels, stat.Share, stat.MeanScore})
	}
	return asJSON(made)
}

// colour is that of a label: hues a golden angle apart, at lightnesses that take turns, so that neighbours in the list
// differ in both. It is computed in OKLCH, where equal steps look equal.
func colour(label int) color.NRGBA {
	lightness := []float64{0.70, 0.58, 0.80}[label%3]
	chroma := []float64{0.16, 0.17, 0.13}[label%3]
	hue := math.Mod(255+137.50776*float64(label), 360) * math.Pi / 180
	a, b := chroma*math.Cos(hue), chroma*math.Sin(hue)
	l := cube(lightness + 0.3963377774*a + 0.2158037573*b)
	m := cube(lightness - 0.1055613458*a - 0.0638541728*b)
	s := cube(lightness - 0.0894841775*a - 1.2914855480*b)
	return color.NRGBA{
		R: companded(4.0767416621*l - 3.3077115913*m + 0.2309699292*s),
		G: companded(-1.2684380046*l + 2.6097574011*m - 0.3413193965*s),
		B: companded(-0.0041960863*l - 0.7034186147*m + 1.7076147010*s),
		A: 255,
	}
}

func cube(v float64) float64 { return v * v * v }

// companded turns linear light into a byte of sRGB.
func companded(v float64) uint8 {
	v = min(1, max(0, v))
	if v <= 0.0031308 {
		v *= 12.92
	} else {
		v = 1.055*math.Pow(v, 1/2.4) - 0.055
	}
	return uint8(v*255 + 0.5)
}

// indexedPNG draws a mask with its labels' colours; the background is black. Beyond 256 ids it is 16-bit gray.
func indexedPNG(m *imaging.Mask, labels int) ([]byte, error) {
	var buffer bytes.Buffer
	if labels+1 > 256 {
		err := export.WritePNG(&buffer, m)
		return buffer.Bytes(), err
	}
	palette := make(color.Palette, labels+1)
	for i := range labels {
		palette[i] = colour(i)
	}
	palette[labels] = color.NRGBA{A: 255}
	drawn := imaging.NewMask(m.Width, m.Height)
	for i, id := range m.ID {
		drawn.ID[i] = min(id, uint16(labels))
	}
	if err := imaging.EncodeMask(&buffer, drawn, palette); err != nil {
		return nil, fmt.Errorf("png: %w", err)
	}
	return buffer.Bytes(), nil
}

// overlayPNG lays the labels' colours over the photo.
func overlayPNG(photo *imaging.Image, m *imaging.Mask, labels int, opacity float64) ([]byte, error) {
	if photo.Width != m.Width || photo.Height != m.Height {
		return nil, fmt.Errorf("overlay: mask of %dx%d, photo of %dx%d", m.Width, m.Height, photo.Width, photo.Height)
	}
	picture := imaging.New(m.Width, m.Height)
	weight := int(opacity*256 + 0.5)
	colours := make([]color.NRGBA, labels)
	for i := range colours {
		colours[i] = colour(i)
	}
	for i, id := range m.ID {
		r, g, b := int(photo.Pix[3*i]), int(photo.Pix[3*i+1]), int(photo.Pix[3*i+2])
		if int(id) < labels {
			c := colours[id]
			r += (int(c.R) - r) * weight / 256
			g += (int(c.G) - g) * weight / 256
			b += (int(c.B) - b) * weight / 256
		}
		picture.Pix[3*i], picture.Pix[3*i+1], picture.Pix[3*i+2] = uint8(r), uint8(g), uint8(b)
	}
	var buffer bytes.Buffer
	if err := imaging.EncodePNG(&buffer, picture); err != nil {
		return nil, fmt.Errorf("png: %w", err)
	}
	return buffer.Bytes(), nil
}

// heatPNG draws one label's scores at the photo's size, from black at the lowest to white at the highest.
func heatPNG(s readout.Scores) (*answer, error) {
	plane, err := readout.Upsample(s.Data, s.Geometry)
	if err != nil {
		return nil, fmt.Errorf("heat map: %w", err)
	}
	low, high := float32(math.Inf(1)), float32(math.Inf(-1))
	for _, v := range plane {
		low, high = min(low, v), max(high, v)
	}
	picture := image.NewGray(image.Rect(0, 0, s.ImageW, s.ImageH))
	if high > low {
		for i, v := range plane {
			picture.Pix[i] = uint8((v-low)/(high-low)*255 + 0.5)
		}
	}
	var buffer bytes.Buffer
	if err := png.Encode(&buffer, picture); err != nil {
		return nil, fmt.Errorf("heat map: %w", err)
	}
	return &answer{kind: "image/png", body: buffer.Bytes()}, nil
}
