package pretrain

import (
	"fmt"

	"github.com/pacl/pacl/scene"
)

// Examples are captioned pictures that a model is trained on.
type Examples interface {
	// Len is the number of pictures, 0 for an endless stream.
	Len() int
	// Load returns picture i, of size x size pixels, as RGB [size, size, 3], and one of its captions; draw chooses the
	// caption and, where pictures are augmented, how.
	Load(i uint64, size int, draw uint64) (rgb []uint8, caption string, err error)
	// Name identifies the examples in logs and checkpoints.
	Name() string
}

// Scenes streams generated scenes without end. Two captions of three are English, one Korean.
type Scenes struct {
	Options scene.Options
	// First is the seed of the first scene.
	First uint64
}

// Len is 0: there is always another scene.
func (s Scenes) Len() int { return 0 }

// Name holds what the scenes follow from.
func (s Scenes) Name() string { return fmt.Sprintf("scenes %+v from seed %d", s.Options, s.First) }

// Load draws a scene.
func (s Scenes) Load(i uint64, size int, draw uint64) ([]uint8, string, error) {
	picture := scene.New(s.Options, s.First+i)
	language := scene.English
	if draw%3 == 2 {
		language = scene.Korean
	}
	return picture.Render(size, size).RGB, picture.Caption(language, draw/3), nil
}

// Caption writes a caption without drawing the scene.
func (s Scenes) Caption(i, draw uint64) (string, error) {
	language := scene.English
	if draw%3 == 2 {
		language = scene.Korean
	}
	return scene.New(s.Options, s.First+i).Caption(language, draw/3), nil
}
