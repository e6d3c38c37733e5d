package caption

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/pacl/pacl/internal/lazyregexp"
)

// openCOCO reads captions as COCO publishes them (images and annotations, joined by the image's id) or as Karpathy's
// splits do (images with their sentences). The JSON is decoded element by element.
func openCOCO(path string, o Options) (Source, error) {
	file, err := openList(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readWhole(path, func() (*list, error) {
		list, err := readCOCO(file, path)
		if err == nil {
			list.root = cocoRoot(list, path, o)
		}
		return list, err
	})
}

type cocoImage struct {
	ID        json.RawMessage `json:"id"`
	FileName  string          `json:"file_name"`
	FilePath  string          `json:"filepath"`
	Name      string          `json:"filename"`
	Sentences []struct {
		Raw string `json:"raw"`
	} `json:"sentences"`
}

type cocoAnnotation struct {
	ImageID json.RawMessage `json:"image_id"`
	Caption string          `json:"caption"`
}

// cocoReader joins images and annotations, which may come in either order.
type cocoReader struct {
	*list
	source string
	byID   map[string]int32
}

func readCOCO(r io.Reader, source string) (*list, error) {
	c := &cocoReader{list: newList(""), source: source, byID: map[string]int32{}}
	decoder := json.NewDecoder(r)
	if err := expect(decoder, '{'); err != nil {
		return nil, err
	}
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		switch key {
		case "images":
			err = eachElement(decoder, c.addImage)
		case "annotations":
			err = eachElement(decoder, c.addAnnotation)
		default:
			err = skipValue(decoder)
		}
		if err != nil {
			return nil, fmt.Errorf("%v at byte %d: %w", key, decoder.InputOffset(), err)
		}
	}
	if err := expect(decoder, '}'); err != nil {
		return nil, err
	}
	for i := range c.images {
		switch im := &c.images[i]; {
		case im.name.length == 0:
			c.skipped.malformed("%s: captions of an image that is not listed", source)
			im.first, im.last = -1, -1
		case im.first < 0:
			c.skipped.Seen++
			c.skipped.empty("%s: no caption for %s", source, c.strings.get(im.name))
		}
	}
	return c.list, nil
}

// placeholder returns the image of an id, adding one without a name if the id is new.
func (c *cocoReader) placeholder(id json.RawMessage) int32 {
	i, ok := c.byID[string(id)]
	if !ok {
		i = int32(len(c.images))
		c.images = append(c.images, image{first: -1, last: -1, collision: -1})
		c.byID[string(id)] = i
	}
	return i
}

func (c *cocoReader) addImage(data json.RawMessage) error {
	var im cocoImage
	if err := json.Unmarshal(data, &im); err != nil {
		c.skipped.Seen++
		c.skipped.malformed("%s: image: %v", c.source, err)
		return nil
	}
	name := im.FileName
	if name == "" && im.Name != "" {
		name = path.Join(im.FilePath, im.Name)
	}
	if len(im.ID) == 0 && len(im.Sentences) > 0 {
		im.ID = json.RawMessage(fmt.Sprintf("image %d", len(c.images)))
	}
	if name == "" || len(im.ID) == 0 {
		c.skipped.Seen++
		c.skipped.malformed("%s: image %.80s has no file_name or id", c.source, data)
		return nil
	}
	i := c.placeholder(im.ID)
	if c.images[i].name.length > 0 {
		c.skipped.Seen++
		c.skipped.malformed("%s: the image id %s is there twice", c.source, im.ID)
		return nil
	}
	c.images[i].name = c.strings.add(name)
	fmt.Fprintf(c.digest, "%d=%s\x00", i, name)
	for _, sentence := range im.Sentences {
		if err := c.addCaption(i, sentence.Raw); err != nil {
			return err
		}
	}
	return nil
}

func (c *cocoReader) addAnnotation(data json.RawMessage) error {
	var annotation cocoAnnotation
	if err := json.Unmarshal(data, &annotation); err != nil || len(annotation.ImageID) == 0 {
		c.skipped.Seen++
		c.skipped.malformed("%s: annotation %.80s has no image_id or is not right", c.source, data)
		return nil
	}
	return c.addCaption(c.placeholder(annotation.ImageID), annotation.Caption)
}

func (c *cocoReader) addCaption(i int32, words string) error {
	c.skipped.Seen++
	if words = cleanText(words); words == "" {
		c.skipped.empty("%s: an annotation without a caption", c.source)
		return nil
	}
	return c.add(i, words)
}

func expect(decoder *json.Decoder, want json.Delim) error {
	token, err := decoder.Token()
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	if token != want {
		return fmt.Errorf("found %v at byte %d, expected %v as COCO's captions have it", token, decoder.InputOffset(), want)
	}
	return nil
}

// eachElement calls visit with each element of an array, one in memory at a time.
func eachElement(decoder *json.Decoder, visit func(json.RawMessage) error) error {
	if err := expect(decoder, '['); err != nil {
		return err
	}
	for decoder.More() {
		var element json.RawMessage
		if err := decoder.Decode(&element); err != nil {
			return err
		}
		if err := visit(element); err != nil {
			return err
		}
	}
	return expect(decoder, ']')
}

// skipValue passes over a value without keeping it.
func skipValue(decoder *json.Decoder) error {
	depth := 0
	for {
		token, err := decoder.Token()
		if err != nil {
			if err == io.EOF {
				err = errors.New("unexpected end of file")
			}
			return err
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth <= 0 {
			return nil
		}
	}
}

var cocoSplit = lazyregexp.New(`_([a-z]+[0-9]{4})\.json`)

// cocoRoot finds where the images of COCO's captions are. Published archives unpack to annotations/captions_val2017.json
// beside val2017/.
func cocoRoot(l *list, source string, o Options) string {
	if o.Root != "" || len(l.images) == 0 {
		return o.Root
	}
	dir := filepath.Dir(source)
	candidates := []string{dir, filepath.Join(dir, "images"), filepath.Join(dir, "..", "images")}
	if split := cocoSplit().FindStringSubmatch(filepath.Base(source)); split != nil {
		candidates = append(candidates, filepath.Join(dir, split[1]), filepath.Join(dir, "..", split[1]), filepath.Join(dir, "..", "images", split[1]))
	}
	for _, im := range l.images {
		if im.name.length == 0 || im.first < 0 {
			continue
		}
		for _, candidate := range candidates {
			if _, err := os.Stat(filepath.Join(candidate, filepath.FromSlash(l.strings.get(im.name)))); err == nil {
				return candidate
			}
		}
		break
	}
	return dir
}
