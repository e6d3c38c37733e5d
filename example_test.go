package pacl_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/pacl/pacl"
	"github.com/pacl/pacl/align"
	"github.com/pacl/pacl/evaluate"
	"github.com/pacl/pacl/models/builtin"
	"github.com/pacl/pacl/scene"
)

// Open the built-in model, which needs no other file, and say what it is. Options.Model takes a directory, a hub id or a
// name in PACL_MODELS just as well.
func ExampleOpen() {
	model, err := pacl.Open(context.Background(), pacl.Options{Model: builtin.Name})
	if err != nil {
		log.Fatal(err)
	}
	info := model.Info()
	fmt.Println(info.Method, info.Vision.Family, info.Text.Family)
	// Output: pacl clip clip
}

// Give each pixel of a picture one of three labels. The picture is a drawn scene; imaging.Open reads a photo from a file.
func ExampleModel_Segment() {
	ctx := context.Background()
	model, err := pacl.Open(ctx, pacl.Options{Model: builtin.Name})
	if err != nil {
		log.Fatal(err)
	}
	labels, err := pacl.ParseLabels("circle, square|box, star")
	if err != nil {
		log.Fatal(err)
	}
	// Words are encoded once for any number of photos, a photo once for any number of words.
	vocabulary, err := model.Vocabulary(ctx, labels, pacl.VocabularyOptions{})
	if err != nil {
		log.Fatal(err)
	}
	photo := scene.New(scene.Options{Aspect: 1.5}, 7).Render(150, 100).Image()
	encoded, err := model.Encode(ctx, photo, pacl.ImageOptions{})
	if err != nil {
		log.Fatal(err)
	}
	result, err := model.Segment(ctx, encoded, vocabulary, pacl.SegmentOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("a mask of %dx%d pixels\n", result.Mask.Width, result.Mask.Height)
	total := result.Background
	for _, label := range result.Labels {
		total += label.Share // label.Label.Name covers so much of the photo
	}
	fmt.Printf("%d labels cover %.0f %% of it\n", len(result.Labels), 100*total)
	// Output:
	// a mask of 150x100 pixels
	// 3 labels cover 100 % of it
}

// Train a head on captioned images and use it. The images are drawn scenes and the training is short; the encoders are
// those of the built-in model.
func ExampleTrain() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "pacl-example-*")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	data := filepath.Join(dir, "scenes")
	if err := scene.WriteSegmentation(ctx, data, scene.SourceOptions{Count: 48, Width: 80}, nil); err != nil {
		log.Fatal(err)
	}
	_, clip, err := builtin.Dir()
	if err != nil {
		log.Fatal(err)
	}
	out := filepath.Join(dir, "head")
	training, err := pacl.Train(ctx, pacl.TrainOptions{
		Extract: pacl.FeatureOptions{Captions: filepath.Join(data, "captions.tsv"), Vision: clip, Text: clip, Flip: true},
		Out:     out,
		Recipe: func(r *align.Recipe) {
			r.Epochs, r.Batch, r.Validation = 2, 16, 0
		},
		DataName: "48 drawn scenes",
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d steps on %d images\n", training.Result.Steps, training.Result.Training)

	model, err := pacl.Open(ctx, pacl.Options{Model: out, Vision: clip, Text: clip})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(model.Info().Head.Data.Name)
	// Output:
	// 6 steps on 48 images
	// 48 drawn scenes
}

// Measure a model on a data set with masks. evaluate.Names lists the data sets; "folder" is one of your own.
func ExampleModel_Evaluate() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "pacl-example-*")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := scene.WriteSegmentation(ctx, dir, scene.SourceOptions{Count: 8, Width: 80, First: 1_000_000}, nil); err != nil {
		log.Fatal(err)
	}
	dataset, err := evaluate.Open("folder", dir, evaluate.OpenOptions{})
	if err != nil {
		log.Fatal(err)
	}
	model, err := pacl.Open(ctx, pacl.Options{Model: builtin.Name})
	if err != nil {
		log.Fatal(err)
	}
	result, err := model.Evaluate(ctx, dataset, pacl.EvaluateOptions{Synonyms: true})
	if err != nil {
		log.Fatal(err)
	}
	// result.WriteText(os.Stdout) prints it for people; result.Protocol says how it was made.
	fmt.Println(result.Images, "scenes,", len(result.PerClass), "classes, better than chance:", result.MIoU > 1/float64(len(result.PerClass)))
	// Output: 8 scenes, 25 classes, better than chance: true
}
