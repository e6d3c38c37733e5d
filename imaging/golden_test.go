package imaging

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/pacl/pacl/internal/testdata"
)

// difference returns the mean and the largest absolute difference of two images of the same size.
func difference(t *testing.T, a, b *Image) (mean float64, largest int) {
	t.Helper()
	if a.Width != b.Width || a.Height != b.Height {
		t.Fatalf("size %dx%d, expected %dx%d", a.Width, a.Height, b.Width, b.Height)
	}
	sum := 0
	for i, v := range a.Pix {
		d := int(v) - int(b.Pix[i])
		d = max(d, -d)
		sum += d
		largest = max(largest, d)
	}
	return float64(sum) / float64(len(a.Pix)), largest
}

func TestGolden(t *testing.T) {
	text, err := os.ReadFile(testdata.Golden(t, "images", "cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Source, Decoded, Filter, Resized string
		Width, Height                    int
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	open := func(t *testing.T, name string) *Image {
		im, err := Open(testdata.Golden(t, "images", name))
		if err != nil {
			t.Fatal(err)
		}
		return im
	}
	for _, c := range cases {
		t.Run(c.Source+" "+c.Resized, func(t *testing.T) {
			source, decoded := open(t, c.Source), open(t, c.Decoded)
			mean, largest := difference(t, source, decoded)
			switch lossless := strings.HasSuffix(c.Source, ".jpg") == false && !strings.Contains(c.Source, "lossy"); {
			case lossless && largest != 0:
				t.Errorf("decoded: largest difference %d, mean %.3f, expected none", largest, mean)
			case mean > 1.5:
				t.Errorf("decoded: mean difference %.3f, expected at most 1.5", mean)
			case (strings.Contains(c.Source, "444") || strings.Contains(c.Source, "gray")) && largest > 3:
				t.Errorf("decoded: largest difference %d, expected at most 3", largest)
			}
			t.Logf("decoded: mean difference %.3f, largest %d", mean, largest)
			if c.Resized == "" {
				return
			}
			filter := Bicubic
			if c.Filter == "bilinear" {
				filter = Bilinear
			}
			_, largest = difference(t, Resize(decoded, c.Width, c.Height, filter), open(t, c.Resized))
			if largest != 0 {
				t.Errorf("resized: largest difference %d, expected none", largest)
			}
		})
	}
}
