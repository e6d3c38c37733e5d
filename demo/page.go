package demo

import (
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"path/filepath"
	"strings"
	"sync"

	"github.com/pacl/pacl/internal/atomicfile"
)

//go:embed page.html
var pageSource string

var pageTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page").Funcs(template.FuncMap{
		"percent": func(share float64) string { return fmt.Sprintf("%.1f", 100*share) },
		"jpeg": func(data []byte) template.URL {
			return template.URL("data:image/jpeg;base64," + base64.StdEncoding.EncodeToString(data))
		},
		"bar": func(share float64) template.CSS { return template.CSS(fmt.Sprintf("width:%.1f%%", 100*share)) },
	}).Parse(pageSource))
})

// page is what the template is given.
type page struct {
	*Report
	Shown  []picture
	TookMS float64
	Gain   float64 // points of mIoU over the best read-out without training
	Curve  string  // points of the live loss as an SVG polyline
}

// writePage writes index.html with everything in it.
func (r *Report) writePage(dir string) (err error) {
	p := page{Report: r, Shown: r.shown, TookMS: float64(r.took.Microseconds()) / 1000}
	for _, m := range r.Methods {
		if m.Name == "PACL" {
			p.Gain = 100 * (m.MIoU - r.bestTrainingFree())
		}
	}
	if r.Live != nil {
		p.Curve = polyline(r.Live.Losses, 600, 120)
	}
	r.Page = filepath.Join(dir, "index.html")
	return atomicfile.Write(r.Page, func(w io.Writer) error { return pageTemplate().Execute(w, p) })
}

// polyline scales values to a box of the given size, the largest at its top.
func polyline(values []float64, width, height float64) string {
	if len(values) < 2 {
		return ""
	}
	least, most := values[0], values[0]
	for _, v := range values {
		least, most = min(least, v), max(most, v)
	}
	var b strings.Builder
	for i, v := range values {
		y := height / 2
		if most > least {
			y = height * (most - v) / (most - least)
		}
		fmt.Fprintf(&b, "%.1f,%.1f ", width*float64(i)/float64(len(values)-1), y)
	}
	return strings.TrimSpace(b.String())
}
