package evaluate

import (
	"bufio"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"
)

// Scorer scores images against texts, as the modified compatibility phi does.
type Scorer interface {
	// Counts returns the numbers of images and texts.
	Counts() (images, texts int)
	// Score writes the scores of all texts for one image into dst [texts]; NaN marks a text that cannot be scored. It is
	// called from several goroutines at once.
	Score(ctx context.Context, image int, dst []float32) error
}

// RetrievalResult is the outcome of image-text retrieval. Recalls go from 0 to 1.
type RetrievalResult struct {
	Protocol    string             `json:"protocol"`
	ImageToText map[string]float64 `json:"image_to_text"` // recall at "1", "5", "10"
	TextToImage map[string]float64 `json:"text_to_image"`
	Images      int                `json:"images"`
	Texts       int                `json:"texts"`
	Seconds     float64            `json:"seconds"`

	PerImage []ImageScore `json:"-"`
}

// mostScores bounds the memory for scores: COCO's 5000 photos with 25 000 captions take an eighth of it.
const mostScores = 1 << 30

// recallAt are the numbers of best matches in which the right one is looked for.
var recallAt = []int{1, 5, 10}

// Retrieval measures recall at 1, 5 and 10. owner says which image each text belongs to; an image may have several texts
// and is found by text when any of them is. Of equal scores all wrong ones count as better, so that a scorer that cannot
// tell anything apart has no recall.
func Retrieval(ctx context.Context, s Scorer, owner []int, keys []string, p Protocol, o RunOptions) (*RetrievalResult, error) {
	started := time.Now()
	images, texts := s.Counts()
	if len(owner) != texts || len(keys) != images || images == 0 || texts == 0 {
		return nil, fmt.Errorf("retrieval: %d images with %d keys and %d texts of %d images, expected one each", images, len(keys), texts, len(owner))
	}
	own := make([][]int, images)
	for text, image := range owner {
		if image < 0 || image >= images {
			return nil, fmt.Errorf("retrieval: text %d belongs to image %d of %d", text, image, images)
		}
		own[image] = append(own[image], text)
	}
	// One pass finds how each image ranks its texts; the score of a text's own image must be known before other images
	// can be counted as better, so scores are kept.
	if int64(images)*int64(texts) > mostScores {
		return nil, fmt.Errorf("retrieval: %d images and %d texts have more than %d scores: measure fewer images", images, texts, int64(mostScores))
	}
	scores := make([][]float32, images)
	var mutex sync.Mutex
	done := 0
	err := forEach(ctx, images, o.workers(), func(ctx context.Context, i int) error {
		scores[i] = make([]float32, texts)
		if err := s.Score(ctx, i, scores[i]); err != nil {
			return fmt.Errorf("retrieval: image %s: %w", keys[i], err)
		}
		mutex.Lock()
		defer mutex.Unlock()
		if done++; o.Progress != nil {
			o.Progress(done, images)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	result := &RetrievalResult{Images: images, Texts: texts, ImageToText: map[string]float64{}, TextToImage: map[string]float64{}}
	result.PerImage = make([]ImageScore, images)
	asked := 0
	for i, row := range scores {
		result.PerImage[i] = ImageScore{Key: keys[i]}
		if len(own[i]) == 0 {
			continue
		}
		asked++
		result.PerImage[i].Total = 1
		best := row[own[i][0]]
		for _, text := range own[i] {
			if v := row[text]; v > best || best != best {
				best = v
			}
		}
		before := 0
		for text, v := range row {
			if owner[text] != i && (v >= best || best != best) {
				before++
			}
		}
		for _, k := range recallAt {
			if before < k {
				result.ImageToText[strconv.Itoa(k)]++
			}
		}
		if before == 0 {
			result.PerImage[i].Right = 1
		}
	}
	for text, image := range owner {
		target, before := scores[image][text], 0
		for i := range scores {
			if v := scores[i][text]; i != image && (v >= target || target != target) {
				before++
			}
		}
		for _, k := range recallAt {
			if before < k {
				result.TextToImage[strconv.Itoa(k)]++
			}
		}
	}
	for _, k := range recallAt {
		key := strconv.Itoa(k)
		result.ImageToText[key] /= float64(asked)
		result.TextToImage[key] /= float64(texts)
	}
	p.Dataset, p.N = "retrieval", images
	if p.More == nil {
		p.More = map[string]string{}
	}
	p.More["texts"] = strconv.Itoa(texts)
	result.Protocol, result.Seconds = p.String(), time.Since(started).Seconds()
	return result, nil
}

// Record returns what compare needs of the result: recall of texts at 1.
func (r *RetrievalResult) Record(model string) *Record {
	return &Record{Protocol: r.Protocol, Model: model, Measure: "accuracy", Images: r.PerImage}
}

// WriteText prints the result for people.
func (r *RetrievalResult) WriteText(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%-14s  %6s  %6s  %6s\n%-14s  %6.2f  %6.2f  %6.2f\n%-14s  %6.2f  %6.2f  %6.2f\n\n%s\n",
		"recall at", "1", "5", "10",
		"image to text", 100*r.ImageToText["1"], 100*r.ImageToText["5"], 100*r.ImageToText["10"],
		"text to image", 100*r.TextToImage["1"], 100*r.TextToImage["5"], 100*r.TextToImage["10"], r.Protocol)
	return err
}

// WriteJSON prints the result as one JSON object.
func (r *RetrievalResult) WriteJSON(w io.Writer) error { return writeJSON(w, r) }

// WriteCSV prints one line for each recall.
func (r *RetrievalResult) WriteCSV(w io.Writer) error {
	var shares []share
	for _, k := range recallAt {
		key := strconv.Itoa(k)
		shares = append(shares, share{"image_to_text@" + key, r.ImageToText[key]}, share{"text_to_image@" + key, r.TextToImage[key]})
	}
	return writeShares(w, r.Protocol, nil, "count", shares...)
}

// share is a named number from 0 to 1.
type share struct {
	name  string
	value float64
}

// writeShares writes the accuracy of classes and some means as CSV.
func writeShares(w io.Writer, protocol string, classes []ClassScore, counted string, means ...share) error {
	return csv.NewWriter(w).WriteAll(append([][]string{shareHeader(counted)}, shareRows(protocol, classes, means...)...))
}

// shareHeader names the columns of shareRows; counted is what a class has so many of.
func shareHeader(counted string) []string { return []string{"class", "accuracy", counted, "protocol"} }

func shareRows(protocol string, classes []ClassScore, means ...share) (rows [][]string) {
	for _, c := range classes {
		accuracy := ""
		if c.Accuracy != nil {
			accuracy = strconv.FormatFloat(*c.Accuracy, 'g', -1, 64)
		}
		rows = append(rows, []string{c.Name, accuracy, strconv.FormatInt(c.Pixels, 10), protocol})
	}
	for _, mean := range means {
		rows = append(rows, []string{"# " + mean.name, strconv.FormatFloat(mean.value, 'g', -1, 64), "", protocol})
	}
	return rows
}

// WriteText prints the result for people.
func (r *PatchResult) WriteText(w io.Writer) error {
	out := bufio.NewWriter(w)
	writeClasses(out, r.PerClass, "patches")
	fmt.Fprintf(out, "\npatch accuracy %.2f of %d patches\n%s\n", 100*r.Accuracy, r.Patches, r.Protocol)
	return out.Flush()
}

// WriteJSON prints the result as one JSON object.
func (r *PatchResult) WriteJSON(w io.Writer) error { return writeJSON(w, r) }

// WriteCSV prints one line a class, then the mean.
func (r *PatchResult) WriteCSV(w io.Writer) error {
	return writeShares(w, r.Protocol, r.PerClass, "patches", share{"accuracy", r.Accuracy})
}

// Alignment is patch classification before and after alignment; what the model cannot do is nil, with the reason.
type Alignment struct {
	Before   *PatchResult `json:"before"`
	BeforeNA string       `json:"before_na,omitempty"`
	After    *PatchResult `json:"after"`
	AfterNA  string       `json:"after_na,omitempty"`
}

// WriteText prints both for people.
func (a *Alignment) WriteText(w io.Writer) error {
	out := bufio.NewWriter(w)
	classes := a.classes()
	width := len("class")
	for _, c := range classes {
		width = max(width, len([]rune(c.Name)))
	}
	fmt.Fprintf(out, "%-*s  %8s  %8s  %10s\n", width, "class", "before", "after", "patches")
	at := func(r *PatchResult, i int) string {
		if r == nil || r.PerClass[i].Accuracy == nil {
			return "n/a"
		}
		return fmt.Sprintf("%.2f", 100**r.PerClass[i].Accuracy)
	}
	for i, c := range classes {
		if c.Accuracy != nil {
			fmt.Fprintf(out, "%-*s  %8s  %8s  %10d\n", width, c.Name, at(a.Before, i), at(a.After, i), c.Pixels)
		}
	}
	fmt.Fprintln(out)
	for _, side := range []struct {
		name   string
		result *PatchResult
		na     string
	}{{"before", a.Before, a.BeforeNA}, {"after", a.After, a.AfterNA}} {
		if side.result == nil {
			fmt.Fprintf(out, "patch accuracy %s alignment n/a: %s\n", side.name, side.na)
			continue
		}
		fmt.Fprintf(out, "patch accuracy %s alignment %.2f of %d patches\n%s\n", side.name, 100*side.result.Accuracy, side.result.Patches, side.result.Protocol)
	}
	return out.Flush()
}

// classes are those of the side that was measured.
func (a *Alignment) classes() []ClassScore {
	switch {
	case a.After != nil:
		return a.After.PerClass
	case a.Before != nil:
		return a.Before.PerClass
	}
	return nil
}

// WriteJSON prints both as one JSON object.
func (a *Alignment) WriteJSON(w io.Writer) error { return writeJSON(w, a) }

// WriteCSV prints one line a class, then the mean, for each side that was measured; the protocol tells them apart.
func (a *Alignment) WriteCSV(w io.Writer) error {
	rows := [][]string{shareHeader("patches")}
	for _, r := range []*PatchResult{a.Before, a.After} {
		if r != nil {
			rows = append(rows, shareRows(r.Protocol, r.PerClass, share{"accuracy", r.Accuracy})...)
		}
	}
	return csv.NewWriter(w).WriteAll(rows)
}

// WriteText prints the result for people.
func (r *CoherenceResult) WriteText(w io.Writer) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "area under the ROC curve %.4f", r.AUC)
	if r.ErrorBound > 0 {
		fmt.Fprintf(out, " (by a histogram of 2^20 bins, wrong by at most %.1g)", r.ErrorBound)
	}
	if r.Low != nil {
		fmt.Fprintf(out, ", 95 %% interval %.4f to %.4f over images", *r.Low, *r.High)
	}
	fmt.Fprintf(out, "\n%d patches, %d pairs, %d of them with the same label\n", r.Patches, r.Pairs, r.Same)
	if r.Note != "" {
		fmt.Fprintln(out, r.Note)
	}
	fmt.Fprintln(out, r.Protocol)
	return out.Flush()
}

// WriteJSON prints the result as one JSON object.
func (r *CoherenceResult) WriteJSON(w io.Writer) error { return writeJSON(w, r) }

// WriteCSV prints the curve, a point a line.
func (r *CoherenceResult) WriteCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	rows := [][]string{{"false_positive_rate", "true_positive_rate", "protocol"}}
	for _, p := range r.ROC {
		rows = append(rows, []string{strconv.FormatFloat(p[0], 'g', -1, 64), strconv.FormatFloat(p[1], 'g', -1, 64), r.Protocol})
	}
	rows = append(rows, []string{"# auc", strconv.FormatFloat(r.AUC, 'g', -1, 64), r.Protocol})
	return out.WriteAll(rows)
}
