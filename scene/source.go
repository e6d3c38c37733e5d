package scene

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/pacl/pacl/caption"
)

// SourceOptions say which scenes a Source gives.
type SourceOptions struct {
	Options
	First         uint64 // seed of the first scene
	Count         int    // scenes
	Width, Height int    // of the pictures, 0: 96
	English       int    // captions per scene; both 0: two English and one Korean
	Korean        int
}

func (o SourceOptions) withDefaults() SourceOptions {
	if o.Width <= 0 {
		o.Width = 96
	}
	if o.Height <= 0 {
		o.Height = o.Width
	}
	if o.English <= 0 && o.Korean <= 0 {
		o.English, o.Korean = 2, 1
	}
	o.Aspect = float64(o.Width) / float64(o.Height)
	return o
}

// Source streams scenes as captioned images without writing a file. It is a caption.Source.
type Source struct {
	options SourceOptions
	next    int
}

// NewSource begins a stream of scenes.
func NewSource(o SourceOptions) *Source { return &Source{options: o.withDefaults()} }

// Next returns the next scene with its captions; Read draws it and encodes it as PNG.
func (s *Source) Next() (caption.Sample, error) {
	if s.next >= s.options.Count {
		return caption.Sample{}, io.EOF
	}
	o, seed := s.options, s.options.First+uint64(s.next)
	s.next++
	return caption.Sample{
		Key:   sceneKey(seed),
		Texts: New(o.Options, seed).captions(o),
		Read: func() ([]byte, error) {
			return New(o.Options, seed).Render(o.Width, o.Height).encode(pngFormat)
		},
	}, nil
}

func sceneKey(seed uint64) string { return fmt.Sprintf("scene-%08d", seed) }

func (s *Scene) captions(o SourceOptions) []string {
	var texts []string
	for i := 0; i < o.English; i++ {
		texts = append(texts, s.Caption(English, uint64(i)))
	}
	for i := 0; i < o.Korean; i++ {
		texts = append(texts, s.Caption(Korean, uint64(i)))
	}
	return texts
}

// worldVersion changes whenever the same seed gives another scene.
const worldVersion = 1

// Hash names the scenes: they follow from the options.
func (s *Source) Hash() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "scenes %d %+v", worldVersion, s.options))
	return hex.EncodeToString(sum[:])
}

// Len is the number of scenes.
func (s *Source) Len() int { return s.options.Count }

// Skipped is empty: every scene has captions.
func (s *Source) Skipped() caption.Skipped { return caption.Skipped{Seen: s.next} }

// Close does nothing.
func (s *Source) Close() error { return nil }
