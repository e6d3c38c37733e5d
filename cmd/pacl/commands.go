package main

import (
	"reflect"
	"strings"

	"github.com/alecthomas/kong"
)

// commands are all commands, in the order of the help text.
type commands struct {
	Segment    segmentCommand    `cmd:"" help:"Segment photos by words."`
	Features   featuresCommand   `cmd:"" help:"Run the frozen encoders over captioned images once."`
	Train      trainCommand      `cmd:"" help:"Train a head on captioned images."`
	Eval       evalCommand       `cmd:"" help:"Measure a model as the paper does."`
	Compare    compareCommand    `cmd:"" help:"Compare two measurements image by image."`
	Report     reportCommand     `cmd:"" help:"Run a matrix of models, methods and data sets, and write a page about it."`
	Dataset    datasetCommand    `cmd:"" help:"List, check and describe data sets for measuring."`
	Serve      serveCommand      `cmd:"" help:"Serve models over HTTP, with a page for people."`
	Export     exportCommand     `cmd:"" help:"Write a model in other formats."`
	Demo       demoCommand       `cmd:"" help:"Show all of it on generated scenes: no model, photo or network is needed."`
	Pretrain   pretrainCommand   `cmd:"" help:"Train a pair of encoders from nothing, or a text encoder for a given vision encoder."`
	Scenes     scenesCommand     `cmd:"" help:"Write generated scenes with captions and masks."`
	Bench      benchCommand      `cmd:"" help:"Time the engine on this machine, beside the processor's limit."`
	Pull       pullCommand       `cmd:"" help:"Download models from the Hugging Face hub."`
	Vocabulary vocabularyCommand `cmd:"" help:"Make a table of names with a text encoder."`
	Info       infoCommand       `cmd:"" help:"Say what a directory is and what it is good for."`

	Quiet   bool             `short:"q" help:"Print results and errors only."`
	Version kong.VersionFlag `help:"Print the version."`

	Profiling profiling `embed:""`
}

// only is c as the parser needs it for one command: the others are hidden from it, because to look at all flags of all commands
// takes longer than some commands do. It is c where name is no command.
func (c *commands) only(name string) any {
	all := reflect.TypeFor[commands]()
	fields := make([]reflect.StructField, all.NumField())
	found := false
	for i := range fields {
		fields[i] = all.Field(i)
		switch _, command := fields[i].Tag.Lookup("cmd"); {
		case !command:
		case strings.ToLower(fields[i].Name) == name:
			found = true
		default:
			fields[i].Tag = `kong:"-"`
		}
	}
	if !found {
		return c
	}
	return reflect.ValueOf(c).Convert(reflect.PointerTo(reflect.StructOf(fields))).Interface()
}

// modelFlags name a model.
type modelFlags struct {
	Model     string `short:"m" placeholder:"MODEL" help:"A PACL model directory, or a CLIP to read out without a head."`
	Vision    string `placeholder:"ENCODER" help:"The vision encoder: in place of the model's own, or a CLIP to read out."`
	Text      string `placeholder:"ENCODER" help:"The text encoder in place of the model's own."`
	Readout   string `enum:"naclip,plain,maskclip,sclip,clearclip," default:"" placeholder:"KIND" help:"Read out without a head: naclip (what a CLIP is read out by), plain, maskclip, sclip or clearclip."`
	Precision string `enum:"bf16,f32," default:"" placeholder:"TYPE" help:"Operands of products: bf16 or f32. Default: the processor's fastest."`
	Tokenizer string `placeholder:"DIR" help:"Where the tokenizer is, if not beside the weights."`
}

// imageFlags say how photos are encoded.
type imageFlags struct {
	Size         int   `placeholder:"N" help:"Short side of the encoder's input in pixels. Default: the model's."`
	Stride       int   `placeholder:"N" help:"Stride of the patches, a divisor of the patch size; smaller is finer and slower."`
	Window       int   `placeholder:"N" help:"Slide windows of N x N pixels over the input. Default: the whole input at once."`
	WindowStride int   `placeholder:"N" help:"Distance of windows. Default: half a window."`
	Scales       int   `placeholder:"N" help:"Look at N sizes, each the root of 2 larger than the one before. Default: the model's."`
	Mirror       *bool `negatable:"" help:"Look at the mirror image as well. Default: the model's."`
}

// priorFlag is the weight of the photo as a whole.
type priorFlag struct {
	ImagePrior *float64 `placeholder:"X" help:"Raise a label everywhere by X times how well it fits the photo as a whole; 0 for not at all. Default: the model's."`
}

// weight is what the library's options take: 0 for the model's own, below 0 for none.
func (f priorFlag) weight() float64 {
	switch {
	case f.ImagePrior == nil:
		return 0
	case *f.ImagePrior == 0:
		return -1
	}
	return *f.ImagePrior
}
