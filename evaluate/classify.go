package evaluate

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pacl/pacl/imaging"
)

// Photos is a set of photos of one class each.
type Photos struct {
	Root    string
	Classes []Class
	Items   []ClassItem
	Each    int // of how many photos a class at most, 0 where that was not limited
}

// ClassItem is a photo and its class.
type ClassItem struct {
	Key   string
	Photo string
	Class int
}

// OpenPhotos reads a folder with a folder of photos for each class, or a list with a line "path<TAB>class" for each
// photo (paths relative to the list, or absolute). Classes are in the order of their names.
func OpenPhotos(path string) (*Photos, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("photos to classify: %w", err)
	}
	p := &Photos{Root: path}
	if info.IsDir() {
		err = p.readFolders()
	} else {
		err = p.readList()
	}
	if err != nil {
		return nil, err
	}
	if len(p.Classes) < 2 {
		return nil, fmt.Errorf("%s has photos of %d classes, expected a folder for each of two or more, or a list", path, len(p.Classes))
	}
	return p, nil
}

func (p *Photos) readFolders() error {
	folders, err := os.ReadDir(p.Root)
	if err != nil {
		return err
	}
	for _, folder := range folders {
		if !folder.IsDir() || strings.HasPrefix(folder.Name(), ".") {
			continue
		}
		files, err := os.ReadDir(filepath.Join(p.Root, folder.Name()))
		if err != nil {
			return err
		}
		found := 0
		for _, file := range files {
			if file.IsDir() || !slices.Contains(photoEnds, strings.ToLower(filepath.Ext(file.Name()))) {
				continue
			}
			found++
			p.Items = append(p.Items, ClassItem{
				Key: folder.Name() + "/" + file.Name(), Photo: filepath.Join(p.Root, folder.Name(), file.Name()), Class: len(p.Classes),
			})
		}
		if found == 0 {
			return fmt.Errorf("%s holds no photo, expected photos of the class %s", filepath.Join(p.Root, folder.Name()), folder.Name())
		}
		name := strings.ReplaceAll(folder.Name(), "_", " ")
		p.Classes = append(p.Classes, Class{Name: name, Words: []string{name}})
	}
	return nil
}

// ClassWords reads the words of classes: those of a public data set where source is its name, else those of a file with one
// class a line, its words separated by ", ", or FOLDER, a tab and the words. It returns them by folderKey of each word, or
// of the folder, and a name for protocol lines: the data set's, or the beginning of the file's hash.
func ClassWords(source string) (words map[string]Class, id string, err error) {
	words = map[string]Class{}
	add := func(key string, class Class) {
		if _, taken := words[folderKey(key)]; !taken {
			words[folderKey(key)] = class
		}
	}
	if classes, err := Classes(source); err == nil {
		for _, class := range classes {
			for _, word := range class.Words {
				add(word, class)
			}
		}
		return words, canonical(source), nil
	}
	const largest = 16 << 20
	file, err := os.Open(source)
	if err != nil {
		return nil, "", fmt.Errorf("words of classes: %q is neither a file nor one of %s", source, strings.Join(Names(), ", "))
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, largest+1))
	if err != nil {
		return nil, "", fmt.Errorf("words of classes: %w", err)
	}
	if len(data) > largest {
		return nil, "", fmt.Errorf("words of classes: %s has more than %d bytes", source, largest)
	}
	for number, line := range strings.Split(strings.TrimPrefix(string(data), "\ufeff"), "\n") {
		folder, list, tab := strings.Cut(strings.TrimRight(line, " \r"), "\t")
		if !tab {
			list = folder
		}
		for _, class := range parseClasses(list) {
			if folder == "" {
				return nil, "", fmt.Errorf("%s: line %d names no folder before its tab", source, number+1)
			}
			if tab {
				add(folder, class)
				continue
			}
			for _, word := range class.Words {
				add(word, class)
			}
		}
	}
	if len(words) == 0 {
		return nil, "", fmt.Errorf("%s holds no words of classes, expected one class a line", source)
	}
	sum := sha256.Sum256(data)
	return words, hex.EncodeToString(sum[:6]), nil
}

// folderKey is how the name of a folder of photos is looked up: without regard to letter case, spaces, "_" and "-".
func folderKey(name string) string {
	return strings.NewReplacer(" ", "", "_", "", "-", "").Replace(strings.ToLower(name))
}

// Rename gives classes the words that ClassWords read. A folder that has none is an error.
func (p *Photos) Rename(words map[string]Class) error {
	taken := map[string]string{}
	for i, class := range p.Classes {
		found, ok := words[folderKey(class.Name)]
		if !ok {
			return fmt.Errorf("%s: the class %s is not in the list of words", p.Root, class.Name)
		}
		if other, twice := taken[found.Name]; twice {
			return fmt.Errorf("%s: %s and %s are both the class %s of the list of words", p.Root, other, class.Name, found.Name)
		}
		taken[found.Name] = class.Name
		p.Classes[i] = found
	}
	return nil
}

// Limit returns the first n photos of each class, all of them where n is 0.
func (p *Photos) Limit(n int) *Photos {
	if n <= 0 {
		return p
	}
	limited := *p
	limited.Items, limited.Each = nil, n
	taken := make([]int, len(p.Classes))
	for _, item := range p.Items {
		if taken[item.Class]++; taken[item.Class] <= n {
			limited.Items = append(limited.Items, item)
		}
	}
	return &limited
}

func (p *Photos) readList() error {
	file, err := os.Open(p.Root)
	if err != nil {
		return err
	}
	defer file.Close()
	type row struct{ path, class string }
	var rows []row
	names := map[string]int{}
	lines := bufio.NewScanner(file)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			continue
		}
		path, class, ok := strings.Cut(line, "\t")
		class = strings.TrimSpace(class)
		if !ok || path == "" || class == "" {
			return fmt.Errorf("%s: line %d is %q, expected a path, a tab and a class", p.Root, number, line)
		}
		rows = append(rows, row{path, class})
		names[class] = 0
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", p.Root, err)
	}
	for name := range names {
		p.Classes = append(p.Classes, Class{Name: name, Words: []string{name}})
	}
	slices.SortFunc(p.Classes, func(a, b Class) int { return strings.Compare(a.Name, b.Name) })
	for i, c := range p.Classes {
		names[c.Name] = i
	}
	for _, r := range rows {
		photo := filepath.FromSlash(r.path)
		if !filepath.IsAbs(photo) {
			photo = filepath.Join(filepath.Dir(p.Root), photo)
		}
		if !exists(photo) {
			return fmt.Errorf("%s names %s, which is missing", p.Root, photo)
		}
		p.Items = append(p.Items, ClassItem{Key: r.path, Photo: photo, Class: names[r.class]})
	}
	return nil
}

// Classifier scores a photo against the classes that it was made for.
type Classifier interface {
	// Classify returns a score for each class; a class that is not known scores NaN. It is called from several
	// goroutines at once.
	Classify(ctx context.Context, photo *imaging.Image) ([]float32, error)
}

// ClassifierFunc is a function that classifies.
type ClassifierFunc func(ctx context.Context, photo *imaging.Image) ([]float32, error)

// Classify calls the function.
func (f ClassifierFunc) Classify(ctx context.Context, photo *imaging.Image) ([]float32, error) {
	return f(ctx, photo)
}

// ClassifyResult is the outcome of zero-shot classification. Shares go from 0 to 1.
type ClassifyResult struct {
	Protocol     string       `json:"protocol"`
	Accuracy     float64      `json:"accuracy"`
	Top5         float64      `json:"top5"`
	MeanAccuracy float64      `json:"mean_accuracy"` // mean over classes
	PerClass     []ClassScore `json:"per_class"`     // iou is null
	Images       int          `json:"images"`
	Seconds      float64      `json:"seconds"`

	PerImage []ImageScore `json:"-"`
}

// Classify measures how often the class of a photo scores best. A class that ties with the right one, or is placed
// first by equal scores, counts by its place in the list.
func Classify(ctx context.Context, photos *Photos, c Classifier, p Protocol, o RunOptions) (*ClassifyResult, error) {
	started := time.Now()
	classes := len(photos.Classes)
	scores := make([]ImageScore, len(photos.Items))
	right, top5, count := make([]int64, classes), int64(0), make([]int64, classes)
	var mutex sync.Mutex
	done := 0
	err := forEach(ctx, len(photos.Items), o.workers(), func(ctx context.Context, i int) error {
		item := photos.Items[i]
		photo, err := imaging.Open(item.Photo)
		if err != nil {
			return err
		}
		values, err := c.Classify(ctx, photo)
		if err != nil {
			return fmt.Errorf("classify %s: %w", item.Key, err)
		}
		if len(values) != classes {
			return fmt.Errorf("classify %s: %d scores, expected %d", item.Key, len(values), classes)
		}
		place := rank(values, item.Class)
		mutex.Lock()
		defer mutex.Unlock()
		count[item.Class]++
		scores[i] = ImageScore{Key: item.Key, Total: 1}
		if place == 0 {
			right[item.Class]++
			scores[i].Right = 1
		}
		if place < 5 {
			top5++
		}
		done++
		if o.Progress != nil {
			o.Progress(done, len(photos.Items))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	p.Dataset, p.N = "classify", len(photos.Items)
	if p.More == nil {
		p.More = map[string]string{}
	}
	p.More["classes"] = strconv.Itoa(classes)
	if photos.Each > 0 {
		p.More["each"] = strconv.Itoa(photos.Each)
	}
	result := &ClassifyResult{Protocol: p.String(), Images: len(scores), PerImage: scores}
	var hits int64
	for i, class := range photos.Classes {
		accuracy := float64(right[i]) / float64(count[i])
		result.PerClass = append(result.PerClass, ClassScore{Name: class.Name, Accuracy: &accuracy, Pixels: count[i]})
		result.MeanAccuracy += accuracy / float64(classes)
		hits += right[i]
	}
	result.Accuracy = float64(hits) / float64(len(scores))
	result.Top5 = float64(top5) / float64(len(scores))
	result.Seconds = time.Since(started).Seconds()
	return result, nil
}

// rank is how many values are placed before that of want: larger ones, and equal ones that stand before it. NaN is
// behind everything.
func rank(values []float32, want int) int {
	place := 0
	target := values[want]
	for i, v := range values {
		switch {
		case i == want:
		case target != target:
			if v == v || i < want {
				place++
			}
		case v > target || v == target && i < want:
			place++
		}
	}
	return place
}

// Record returns what compare needs of the result.
func (r *ClassifyResult) Record(model string) *Record {
	return &Record{Protocol: r.Protocol, Model: model, Measure: "accuracy", Images: r.PerImage}
}

// WriteText prints the result for people.
func (r *ClassifyResult) WriteText(w io.Writer) error {
	out := bufio.NewWriter(w)
	writeClasses(out, r.PerClass, "photos")
	fmt.Fprintf(out, "\naccuracy %.2f   top 5 %.2f   mean over classes %.2f\n%s\n", 100*r.Accuracy, 100*r.Top5, 100*r.MeanAccuracy, r.Protocol)
	return out.Flush()
}

// writeClasses prints the accuracy of each class.
func writeClasses(out io.Writer, classes []ClassScore, counted string) {
	width := len("class")
	for _, c := range classes {
		width = max(width, len([]rune(c.Name)))
	}
	fmt.Fprintf(out, "%-*s  %8s  %10s\n", width, "class", "accuracy", counted)
	for _, c := range classes {
		if c.Accuracy != nil {
			fmt.Fprintf(out, "%-*s  %8.2f  %10d\n", width, c.Name, 100**c.Accuracy, c.Pixels)
		}
	}
}

// WriteJSON prints the result as one JSON object.
func (r *ClassifyResult) WriteJSON(w io.Writer) error { return writeJSON(w, r) }

// WriteCSV prints one line a class, then the means.
func (r *ClassifyResult) WriteCSV(w io.Writer) error {
	return writeShares(w, r.Protocol, r.PerClass, "photos", share{"accuracy", r.Accuracy}, share{"top5", r.Top5}, share{"mean_accuracy", r.MeanAccuracy})
}
