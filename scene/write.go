package scene

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image/color"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/pacl/pacl/imaging"
	"github.com/pacl/pacl/internal/atomicfile"
)

// shardScenes is how many scenes a WebDataset shard holds.
const shardScenes = 1000

// WriteWebDataset writes the scenes as WebDataset shards DIR/scenes-00000.tar and so on: for each scene a JPEG, its first
// caption as .txt, and .json with all captions, seed and objects. done is called after each scene and may be nil.
func WriteWebDataset(ctx context.Context, dir string, o SourceOptions, done func(n int)) error {
	o = o.withDefaults()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write scenes: %w", err)
	}
	for shard := 0; shard*shardScenes < o.Count; shard++ {
		path := filepath.Join(dir, fmt.Sprintf("scenes-%05d.tar", shard))
		err := atomicfile.Write(path, func(file io.Writer) error {
			w := tar.NewWriter(file)
			for i := shard * shardScenes; i < min(o.Count, (shard+1)*shardScenes); i++ {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := writeMembers(w, o, o.First+uint64(i)); err != nil {
					return err
				}
				if done != nil {
					done(i + 1)
				}
			}
			return w.Close()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// objectRecord is an object in a shard's JSON.
type objectRecord struct {
	Kind   string  `json:"kind"`
	Colour string  `json:"colour"` // empty for one without a name
	X      float64 `json:"x"`      // of the centre, in shares of the short side
	Y      float64 `json:"y"`
	Radius float64 `json:"radius"`
}

func writeMembers(w *tar.Writer, o SourceOptions, seed uint64) error {
	s := New(o.Options, seed)
	picture, err := s.Render(o.Width, o.Height).encode(jpegFormat)
	if err != nil {
		return err
	}
	texts := s.captions(o)
	var objects []objectRecord
	for _, object := range s.Objects {
		objects = append(objects, objectRecord{Kinds[object.Kind].Name(), colourName(object.Colour), object.X, object.Y, object.Radius})
	}
	record, err := json.Marshal(map[string]any{"seed": seed, "captions": texts, "objects": objects})
	if err != nil {
		return err
	}
	key := sceneKey(seed)
	for _, member := range []struct {
		name string
		data []byte
	}{{key + jpegFormat.extension, picture}, {key + ".txt", []byte(texts[0])}, {key + ".json", record}} {
		if err := w.WriteHeader(&tar.Header{Name: member.name, Mode: 0o644, Size: int64(len(member.data)), Format: tar.FormatUSTAR}); err != nil {
			return err
		}
		if _, err := w.Write(member.data); err != nil {
			return err
		}
	}
	return nil
}

// WriteSegmentation writes the scenes as a segmentation data set: images/ (PNG), masks/ (indexed PNG, the id is the line
// of classes.txt counted from 0, 255 is ground), classes.txt (names and synonyms), and captions.tsv, from which heads can
// be trained on the same pictures.
func WriteSegmentation(ctx context.Context, dir string, o SourceOptions, done func(n int)) error {
	if err := writeSegmentation(ctx, dir, o.withDefaults(), done); err != nil {
		return fmt.Errorf("write scenes to %s: %w", dir, err)
	}
	return nil
}

func writeSegmentation(ctx context.Context, dir string, o SourceOptions, done func(n int)) error {
	for _, folder := range []string{"images", "masks"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			return err
		}
	}
	captions := bytes.NewBufferString("image\tcaption\n")
	palette := MaskPalette()
	for i := 0; i < o.Count; i++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		seed := o.First + uint64(i)
		s, key := New(o.Options, seed), sceneKey(seed)
		picture := s.Render(o.Width, o.Height)
		data, err := picture.encode(pngFormat)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "images", key+".png"), data, 0o644); err != nil {
			return err
		}
		err = atomicfile.Write(filepath.Join(dir, "masks", key+".png"), func(file io.Writer) error {
			return imaging.EncodeMask(file, picture.Mask(s), palette)
		})
		if err != nil {
			return err
		}
		for _, text := range s.captions(o) {
			fmt.Fprintf(captions, "images/%s.png\t%s\n", key, text)
		}
		if done != nil {
			done(i + 1)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "captions.tsv"), captions.Bytes(), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "classes.txt"), []byte(ClassesText()), 0o644)
}

// ClassesText lists all kinds, one a line, English synonyms separated by ", ".
func ClassesText() string {
	var b strings.Builder
	for _, kind := range Kinds {
		b.WriteString(strings.Join(kind.English, ", ") + "\n")
	}
	return b.String()
}

// MaskPalette has a colour of its own for every kind, evenly around the colour circle; ground is nearly black.
func MaskPalette() color.Palette {
	palette := make(color.Palette, 256)
	for i := range palette {
		palette[i] = color.RGBA{24, 26, 30, 255}
	}
	for i := range Kinds {
		c := fromHSV(float64(i*7%len(Kinds))/float64(len(Kinds)), 0.55+0.4*float64(i%2), 0.95-0.25*float64(i%3)/2)
		palette[i] = color.RGBA{uint8(255 * c[0]), uint8(255 * c[1]), uint8(255 * c[2]), 255}
	}
	return palette
}
