package report

import (
	"encoding/base64"
	"fmt"
	"html/template"
	"image/color"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/pacl/pacl/evaluate"
	"github.com/pacl/pacl/internal/atomicfile"
	"github.com/pacl/pacl/render"
)

// page is what is printed, in the order of the file.
type page struct {
	Title       string
	Notes       string
	Sections    []section
	Environment []string
	Command     string
	Commands    []string
}

// section is a data set with an experiment.
type section struct {
	Title   string
	Measure string
	More    []string // names of further measures, columns
	Rows    []row
	Curves  []curve
	Sources []string // of published numbers
	ROC     string   // file of the curves, for Markdown

	showPictures []string // the methods whose pictures Markdown shows
}

type row struct {
	Model, Method, Options string
	Value, Interval        string
	More                   []string
	Published              string
	Protocol               string
	Seconds                string
	NA, Failed             string
	Best                   bool
	Pictures               []Picture
	files                  []string // of the pictures, for Markdown
}

type curve struct {
	render.Curve
	Line  string // the points of an SVG polyline, 0..200
	Color color.RGBA
}

// CSS is the colour as a style has it.
func (c curve) CSS() string { return fmt.Sprintf("#%02x%02x%02x", c.Color.R, c.Color.G, c.Color.B) }

func newPage(e *Experiments, outcomes []Outcome, o RunOptions) *page {
	p := &page{Title: e.Title, Notes: e.Notes, Environment: environment(o.Environment), Command: o.Command}
	for _, d := range e.Datasets {
		s := section{Title: d.Name, Measure: "value", showPictures: d.Pictures}
		if d.Experiment != "segmentation" {
			s.Title += ", " + d.Experiment
		}
		if d.By != "" {
			s.Title += " by " + d.By
		}
		if d.Split != "" {
			s.Title += ", " + d.Split
		}
		if d.Title != "" {
			s.Title = d.Title
		}
		best := -1.0
		var own []Outcome
		for _, outcome := range outcomes {
			if c := outcome.Cell.Dataset; c.Name == d.Name && c.Experiment == d.Experiment && c.By == d.By && c.Split == d.Split && c.Path == d.Path && c.Title == d.Title {
				own = append(own, outcome)
				if outcome.Result != nil {
					s.Measure = outcome.Result.Measure
					best = max(best, outcome.Result.Value)
					for name := range outcome.Result.More {
						if !slices.Contains(s.More, name) {
							s.More = append(s.More, name)
						}
					}
				}
			}
		}
		slices.Sort(s.More)
		for _, outcome := range own {
			s.add(e, outcome, best)
			if outcome.Command != "" && !slices.Contains(p.Commands, outcome.Command) {
				p.Commands = append(p.Commands, outcome.Command)
			}
		}
		p.Sections = append(p.Sections, s)
	}
	return p
}

func percent(v float64) string { return fmt.Sprintf("%.2f", 100*v) }

func (s *section) add(e *Experiments, outcome Outcome, best float64) {
	c := outcome.Cell
	r := row{Model: c.Model.Name, Method: c.Method, Options: c.Options.Name, NA: outcome.NA, Failed: outcome.Failed}
	if p, ok := e.published(c); ok {
		r.Published = fmt.Sprintf("%.1f", p.Value)
		if source := fmt.Sprintf("%s %.1f: %s", p.Method, p.Value, p.Source); !slices.Contains(s.Sources, source) {
			s.Sources = append(s.Sources, source)
		}
	}
	if result := outcome.Result; result != nil {
		r.Value, r.Protocol, r.Seconds, r.Pictures = percent(result.Value), result.Protocol, fmt.Sprintf("%.1f", result.Seconds), result.Pictures
		r.Best = result.Value == best
		if result.Low != nil && result.High != nil {
			r.Interval = percent(*result.Low) + " to " + percent(*result.High)
		}
		for _, name := range s.More {
			text := ""
			if v, ok := result.More[name]; ok {
				text = percent(v)
			}
			r.More = append(r.More, text)
		}
		if len(result.Curve) > 0 {
			var points strings.Builder
			for _, p := range result.Curve {
				fmt.Fprintf(&points, "%.1f,%.1f ", 200*p[0], 200-200*p[1])
			}
			name := strings.Join([]string{c.Model.Name, c.Method, c.Options.Name}, ", ")
			s.Curves = append(s.Curves, curve{render.Curve{Name: name, Points: result.Curve}, strings.TrimSpace(points.String()), render.Color(len(s.Curves))})
		}
	} else {
		r.More = make([]string, len(s.More))
	}
	s.Rows = append(s.Rows, r)
}

// published finds a paper's number: the file's own first.
func (e *Experiments) published(c Cell) (Published, bool) {
	for _, list := range [][]Published{e.Published, published} {
		for _, p := range list {
			experiment := p.Experiment
			if experiment == "" {
				experiment = "segmentation"
			}
			if p.Dataset == c.Dataset.Name && p.Method == c.Method && experiment == c.Dataset.Experiment {
				return p, true
			}
		}
	}
	return Published{}, false
}

// hasPublished reports whether the section has a column of published numbers.
func (s section) HasPublished() bool { return len(s.Sources) > 0 }

// HasIntervals reports whether the section has a column of intervals.
func (s section) HasIntervals() bool {
	return slices.ContainsFunc(s.Rows, func(r row) bool { return r.Interval != "" })
}

// picturesFolder holds what Markdown shows, beside it.
const picturesFolder = "pictures"

// writePictures writes the curves, and the pictures of data sets that let Markdown show them, as files below folder.
func (p *page) writePictures(folder string) error {
	if err := os.MkdirAll(filepath.Join(folder, picturesFolder), 0o755); err != nil {
		return err
	}
	for i := range p.Sections {
		s := &p.Sections[i]
		if len(s.Curves) > 0 {
			var curves []render.Curve
			for _, c := range s.Curves {
				curves = append(curves, c.Curve)
			}
			s.ROC = fmt.Sprintf("%s/roc-%d.png", picturesFolder, i+1)
			err := atomicfile.Write(filepath.Join(folder, s.ROC), func(w io.Writer) error { return render.ROC(w, curves) })
			if err != nil {
				return err
			}
		}
		for r := range s.Rows {
			if !slices.Contains(s.showPictures, s.Rows[r].Method) {
				continue
			}
			for k, picture := range s.Rows[r].Pictures {
				name := fmt.Sprintf("%s/%d-%d-%s-%d.jpg", picturesFolder, i+1, r+1, picture.Kind, k+1)
				s.Rows[r].files = append(s.Rows[r].files, name)
				err := atomicfile.Write(filepath.Join(folder, name), func(w io.Writer) error {
					_, err := w.Write(picture.JPEG)
					return err
				})
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// writeMarkdown writes the tables, the protocol of each row below them.
func (p *page) writeMarkdown(w io.Writer) error {
	var b strings.Builder
	cell := func(text string) string {
		return strings.ReplaceAll(strings.ReplaceAll(text, "|", "\\|"), "\n", " ")
	}
	fmt.Fprintf(&b, "# %s\n\n", p.Title)
	if p.Notes != "" {
		fmt.Fprintf(&b, "%s\n\n", strings.TrimSpace(p.Notes))
	}
	for _, s := range p.Sections {
		fmt.Fprintf(&b, "## %s\n\n", s.Title)
		header := []string{"model", "method", "options", s.Measure}
		if s.HasIntervals() {
			header = append(header, "95 % interval")
		}
		header = append(header, s.More...)
		if s.HasPublished() {
			header = append(header, "published")
		}
		header = append(header, "protocol")
		fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(header, " | "), strings.Repeat(" --- |", len(header)))
		for _, r := range s.Rows {
			value := r.Value
			switch {
			case r.NA != "":
				value = "n/a"
			case r.Failed != "":
				value = "failed"
			case r.Best:
				value = "**" + value + "**"
			}
			columns := []string{cell(r.Model), r.Method, cell(r.Options), value}
			if s.HasIntervals() {
				columns = append(columns, r.Interval)
			}
			columns = append(columns, r.More...)
			if s.HasPublished() {
				columns = append(columns, r.Published)
			}
			last := "`" + r.Protocol + "`"
			if r.Protocol == "" {
				last = cell(r.NA + r.Failed)
			}
			fmt.Fprintf(&b, "| %s |\n", strings.Join(append(columns, last), " | "))
		}
		b.WriteString("\n")
		for _, source := range s.Sources {
			fmt.Fprintf(&b, "Published, with the paper's own protocol: %s.\n", source)
		}
		if s.HasPublished() {
			b.WriteString("\n")
		}
		if s.ROC != "" {
			fmt.Fprintf(&b, "![ROC curves of %s](%s)\n\n", cell(s.Title), s.ROC)
		}
		for _, r := range s.Rows {
			for i, file := range r.files {
				fmt.Fprintf(&b, "%s, %s, %s: %s\n\n![%s: photo, truth, prediction](%s)\n\n", cell(r.Model), r.Method, cell(r.Options),
					r.Pictures[i].Kind, cell(r.Pictures[i].Title), file)
			}
		}
	}
	b.WriteString("## How it was made\n\n")
	for _, line := range p.Environment {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	if p.Command != "" {
		fmt.Fprintf(&b, "\nThis page:\n\n```\n%s\n```\n", p.Command)
	}
	if len(p.Commands) > 0 {
		fmt.Fprintf(&b, "\nEach number alone:\n\n```\n%s\n```\n", strings.Join(p.Commands, "\n"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

var pageTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page").Funcs(template.FuncMap{
		"jpeg": func(data []byte) template.URL {
			return template.URL("data:image/jpeg;base64," + base64.StdEncoding.EncodeToString(data))
		},
	}).Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{.Title}}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse;width:100%;margin:1rem 0;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}
td.n,th.n{text-align:right}.best{font-weight:700}.published{color:#666;font-style:italic}.na{color:#888}.failed{color:#b00020}
code{font-size:.85em;color:#444}pre{overflow:auto;background:#f6f6f6;padding:.7rem}
figure{display:inline-block;margin:.4rem;vertical-align:top;max-width:38rem}figure img{max-width:100%}figcaption{font-size:.85em}
.wide{overflow-x:auto}
</style></head><body>
<h1>{{.Title}}</h1>
{{with .Notes}}<p>{{.}}</p>{{end}}
{{range .Sections}}{{$s := .}}<h2>{{.Title}}</h2>
<div class="wide"><table><thead><tr><th>model</th><th>method</th><th>options</th><th class="n">{{.Measure}}</th>
{{if .HasIntervals}}<th class="n">95 % interval</th>{{end}}{{range .More}}<th class="n">{{.}}</th>{{end}}
{{if .HasPublished}}<th class="n">published</th>{{end}}<th class="n">seconds</th><th>protocol</th></tr></thead><tbody>
{{range .Rows}}<tr><td>{{.Model}}</td><td>{{.Method}}</td><td>{{.Options}}</td>
{{if .NA}}<td class="n na">n/a</td>{{else if .Failed}}<td class="n failed">failed</td>{{else}}<td class="n{{if .Best}} best{{end}}">{{.Value}}</td>{{end}}
{{if $s.HasIntervals}}<td class="n">{{.Interval}}</td>{{end}}{{range .More}}<td class="n">{{.}}</td>{{end}}
{{if $s.HasPublished}}<td class="n published">{{.Published}}</td>{{end}}<td class="n">{{.Seconds}}</td>
<td>{{if .NA}}<span class="na">{{.NA}}</span>{{else if .Failed}}<span class="failed">{{.Failed}}</span>{{else}}<code>{{.Protocol}}</code>{{end}}</td></tr>
{{end}}</tbody></table></div>
{{range .Sources}}<p class="published">Published, with the paper's own protocol: {{.}}.</p>{{end}}
{{if .Curves}}<svg viewBox="-30 -10 250 250" width="420" role="img" aria-label="ROC curves">
<rect width="200" height="200" fill="none" stroke="#999"/><line x1="0" y1="200" x2="200" y2="0" stroke="#ccc"/>
{{range .Curves}}<polyline points="{{.Line}}" fill="none" stroke="{{.CSS}}" stroke-width="1.5"/>{{end}}
<text x="100" y="222" text-anchor="middle" font-size="10">false positive rate</text>
<text x="-12" y="100" text-anchor="middle" font-size="10" transform="rotate(-90 -12 100)">true positive rate</text></svg>
<ul>{{range .Curves}}<li style="color:{{.CSS}}">{{.Name}}</li>{{end}}</ul>{{end}}
{{range .Rows}}{{if .Pictures}}<h3>{{.Model}}, {{.Method}}, {{.Options}}</h3>
{{range .Pictures}}<figure><img src="{{jpeg .JPEG}}" alt="{{.Title}}"><figcaption>{{.Kind}}: {{.Title}}</figcaption></figure>{{end}}{{end}}{{end}}
{{end}}
<h2>How it was made</h2><ul>{{range .Environment}}<li>{{.}}</li>{{end}}</ul>
{{with .Command}}<p>This page:</p><pre>{{.}}</pre>{{end}}
{{if .Commands}}<p>Each number alone:</p><pre>{{range .Commands}}{{.}}
{{end}}</pre>{{end}}
</body></html>
`))
})

func (p *page) writeHTML(w io.Writer) error { return pageTemplate().Execute(w, p) }

// Replicates is how often images are drawn for the interval of a cell.
const Replicates = 1000

// interval fills in the 95 % interval by bootstrap over images.
func (r *Result) interval(record *evaluate.Record) *Result {
	low, high := record.Interval(Replicates, 1)
	r.Low, r.High = &low, &high
	return r
}

// FromSegmentation turns a result into that of a cell.
func FromSegmentation(r *evaluate.SegmentationResult) *Result {
	return (&Result{Measure: "mIoU", Value: r.MIoU, Protocol: r.Protocol, Images: r.Images, Seconds: r.Seconds,
		More: map[string]float64{"pixel accuracy": r.PixelAccuracy, "mean accuracy": r.MeanAccuracy}}).interval(r.Record(""))
}

// FromPatches turns a result into that of a cell.
func FromPatches(r *evaluate.PatchResult) *Result {
	return (&Result{Measure: "accuracy", Value: r.Accuracy, Protocol: r.Protocol, Images: r.Images, Seconds: r.Seconds}).interval(r.Record(""))
}

// FromCoherence turns a result into that of a cell.
func FromCoherence(r *evaluate.CoherenceResult) *Result {
	return &Result{Measure: "AUC", Value: r.AUC, Low: r.Low, High: r.High, Protocol: r.Protocol, Images: r.Images, Seconds: r.Seconds, Curve: r.ROC}
}

// FromClassify turns a result into that of a cell.
func FromClassify(r *evaluate.ClassifyResult) *Result {
	return (&Result{Measure: "accuracy", Value: r.Accuracy, Protocol: r.Protocol, Images: r.Images, Seconds: r.Seconds,
		More: map[string]float64{"top 5": r.Top5, "mean over classes": r.MeanAccuracy}}).interval(r.Record(""))
}

// FromRetrieval turns a result into that of a cell.
func FromRetrieval(r *evaluate.RetrievalResult) *Result {
	return (&Result{Measure: "recall@1", Value: r.ImageToText["1"], Protocol: r.Protocol, Images: r.Images, Seconds: r.Seconds,
		More: map[string]float64{
			"image to text @5": r.ImageToText["5"], "image to text @10": r.ImageToText["10"],
			"text to image @1": r.TextToImage["1"], "text to image @5": r.TextToImage["5"], "text to image @10": r.TextToImage["10"],
		}}).interval(r.Record(""))
}
