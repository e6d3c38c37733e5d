package main

// exportCommand writes models in other formats.
type exportCommand struct {
	ONNX exportONNXCommand `cmd:"" name:"onnx" help:"Write encoder, head and text tower as ONNX."`
}

// exportONNXCommand writes patches.onnx and texts.onnx.
type exportONNXCommand struct {
	modelFlags
	Stride int    `placeholder:"N" help:"Stride of the patches. Default: the model's."`
	Out    string `short:"o" default:"." placeholder:"DIR" help:"Where to write patches.onnx and texts.onnx."`
}

// Help follows the flags.
func (exportONNXCommand) Help() string {
	return `patches.onnx takes pixels [batch, 3, height, width], normalised by the mean and std of its metadata, and texts
[labels, width], unit vectors; it gives scores [batch, rows, columns, labels] and the patches' unit vectors. texts.onnx takes
token ids and gives text vectors; a model with a names table has none.
Example:
  pacl export onnx --model org/clip --out onnx`
}

// Run exports in float32 whatever the processor's fastest type is.
func (c *exportONNXCommand) Run(s *session) error {
	if c.Precision == "bf16" {
		return usageError("ONNX files hold float32: --precision bf16 makes no sense here")
	}
	c.Precision = "f32"
	model, err := c.open(s)
	if err != nil {
		return err
	}
	paths, err := model.ExportONNX(c.Out, c.Stride)
	if err != nil {
		return err
	}
	for _, path := range paths {
		s.logf("wrote %s", path)
	}
	if i := model.Info(); i.Scales > 1 || i.Mirror || i.ImagePrior > 0 {
		s.logf("the files hold one look; for pacl's own masks also average the patches of %d sizes from %d pixels (mirror image: %t) and raise labels by %g of their fit to the photo",
			i.Scales, i.InputSize, i.Mirror, i.ImagePrior)
	}
	return nil
}
