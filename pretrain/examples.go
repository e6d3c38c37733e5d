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
	// Single is how many scenes at the start are close-ups of one object, and Easy how many after those hold two at most:
	// words are learned sooner where few things can be meant.
	Single, Easy uint64
	// Clean is how many scenes at the start are drawn without patterns, light, blur and noise.
	Clean uint64
	// Monochrome is the share of the later scenes that show no colours, and Unnamed that of their objects in colours without a
	// name.
	Monochrome, Unnamed float64
	// Mosaics is the share of steps, of Batch scenes each, whose scenes are close-ups of one object too.
	Mosaics float64
	Batch   uint64
}

// firstScene is the seed of the first scene of pre-training: seeds below are left to tests and demonstrations.
const firstScene = 1 << 32

// RecipeScenes are the scenes of a recipe: close-ups while pictures are small, the first of them clean, then easy scenes,
// then all.
func RecipeScenes(c Config) Scenes {
	return Scenes{First: firstScene, Single: uint64(c.SmallSteps) * uint64(c.Batch), Easy: uint64(c.EasySteps) * uint64(c.Batch),
		Clean: uint64(c.CleanSteps) * uint64(c.Batch), Monochrome: c.Monochrome, Unnamed: c.Unnamed, Mosaics: c.Mosaics, Batch: uint64(c.Batch)}
}

// Len is 0: there is always another scene.
func (s Scenes) Len() int { return 0 }

// Name holds what the scenes follow from.
func (s Scenes) Name() string {
	return fmt.Sprintf("scenes %+v from seed %d, %d single and %d easy ones first, %d clean, %g of the others monochrome, %g of objects unnamed, mosaics in %g of the steps of %d",
		s.Options, s.First, s.Single, s.Easy, s.Clean, s.Monochrome, s.Unnamed, s.Mosaics, s.Batch)
}

func (s Scenes) scene(i uint64) *scene.Scene {
	o := s.Options
	switch {
	case i < s.Single, s.Mosaics > 0 && evenly(int(i/s.Batch), s.Mosaics):
		o.MinObjects, o.MaxObjects, o.CloseUp = 1, 1, true
	case i < s.Single+s.Easy:
		o.MinObjects, o.MaxObjects = 1, 2
	}
	o.Clean = i < s.Clean
	if !o.Clean {
		o.Monochrome, o.Unnamed = s.Monochrome, s.Unnamed
	}
	return scene.New(o, s.First+i)
}

// Load draws a scene.
func (s Scenes) Load(i uint64, size int, draw uint64) ([]uint8, string, error) {
	picture := s.scene(i)
	return picture.Render(size, size).RGB, sceneCaption(picture, draw), nil
}

// Caption writes a caption without drawing the scene.
func (s Scenes) Caption(i, draw uint64) (string, error) {
	return sceneCaption(s.scene(i), draw), nil
}

func sceneCaption(picture *scene.Scene, draw uint64) string {
	language := scene.English
	if draw%3 == 2 {
		language = scene.Korean
	}
	return picture.Caption(language, draw/3)
}
