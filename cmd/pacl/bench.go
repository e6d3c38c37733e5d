package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/pacl/pacl"
	"github.com/pacl/pacl/bench"
)

type benchCommand struct {
	Encoder benchEncoderCommand `cmd:"" help:"A vision encoder: pixels to patch tokens."`
	Dense   benchDenseCommand   `cmd:"" help:"A vision encoder with overlapping patches, one image."`
	Text    benchTextCommand    `cmd:"" help:"A text encoder: tokens to sentence vectors."`
	Segment benchSegmentCommand `cmd:"" help:"A photo to its mask: resizing, encoder, read-out."`
	Train   benchTrainCommand   `cmd:"" help:"A step of training a head."`
	Gemm    benchGemmCommand    `cmd:"" help:"A matrix product."`
	CPU     benchCPUCommand     `cmd:"" name:"cpu" help:"What the processor offers, what was chosen and why, and its measured peak."`
}

func (*benchCommand) Help() string {
	return `Weights and inputs are random numbers: no file is needed. The peak is what multiply-adds in registers reach,
measured in the same run. PACL_CPU=portable, avx2, avx512 or avx512bf16 asks for a lower instruction set, GOMAXPROCS for
fewer workers.`
}

// benchFlags are those of all benchmarks.
type benchFlags struct {
	DType string `name:"dtype" enum:"bf16,f32," default:"" placeholder:"TYPE" help:"Operands of products: bf16 or f32. Default: the processor's fastest."`
	Runs  int    `default:"5" help:"Runs of which the median is told."`
	JSON  bool   `name:"json" help:"Print one JSON object."`
}

func (f benchFlags) options() (bench.Options, error) {
	if f.Runs < 1 {
		return bench.Options{}, usageError(fmt.Sprintf("--runs is %d, expected at least 1", f.Runs))
	}
	precision, err := pacl.ParsePrecision(f.DType)
	return bench.Options{Precision: precision, Runs: f.Runs}, err
}

func (f benchFlags) print(s *session, r bench.Result, err error) error {
	if err != nil {
		return err
	}
	if f.JSON {
		return s.printJSON(r)
	}
	for _, line := range r.Lines() {
		fmt.Fprintln(s.stdout, line)
	}
	return nil
}

type archFlag struct {
	Arch string `default:"clip-vit-b-16" placeholder:"NAME" help:"Architecture: clip-vit-b-16, clip-vit-l-14, vit-tiny-16, dinov2-vit-s14, ... Default: ${default}."`
}

type benchEncoderCommand struct {
	archFlag
	Size   int `placeholder:"N" help:"Side of the input in pixels. Default: the architecture's."`
	Stride int `placeholder:"N" help:"Stride of the patches. Default: the patch size."`
	Batch  int `default:"8" help:"Images at once. Default: ${default}."`
	benchFlags
}

func (c *benchEncoderCommand) Run(s *session) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	r, err := bench.Encoder(s, bench.VisionOptions{Options: o, Arch: c.Arch, Size: c.Size, Stride: c.Stride, Batch: c.Batch})
	return c.print(s, r, err)
}

type benchDenseCommand struct {
	archFlag
	Size   int `placeholder:"N" help:"Side of the input in pixels. Default: the architecture's."`
	Stride int `placeholder:"N" help:"Stride of the patches. Default: a quarter of the patch size, or half of it."`
	Batch  int `default:"1" help:"Images at once. Default: ${default}."`
	benchFlags
}

func (c *benchDenseCommand) Run(s *session) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	r, err := bench.Dense(s, bench.VisionOptions{Options: o, Arch: c.Arch, Size: c.Size, Stride: c.Stride, Batch: c.Batch})
	return c.print(s, r, err)
}

type benchTextCommand struct {
	archFlag
	Batch  int `default:"1000" help:"Texts. Default: ${default}."`
	Tokens int `default:"9" help:"Tokens of a text in the mean, start and end included; lengths vary by a third. Default: ${default}."`
	benchFlags
}

func (c *benchTextCommand) Run(s *session) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	r, err := bench.Text(s, bench.TextOptions{Options: o, Arch: c.Arch, Batch: c.Batch, Tokens: c.Tokens})
	return c.print(s, r, err)
}

type benchSegmentCommand struct {
	archFlag
	Size   int `placeholder:"N" help:"Side of the encoder's input in pixels. Default: the architecture's."`
	Stride int `placeholder:"N" help:"Stride of the patches. Default: the patch size."`
	Output int `placeholder:"N" help:"Side of the photo and its mask in pixels. Default: that of the input."`
	Labels int `default:"20" help:"Labels. Default: ${default}."`
	benchFlags
}

func (c *benchSegmentCommand) Run(s *session) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	r, err := bench.Segment(s, bench.SegmentOptions{
		VisionOptions: bench.VisionOptions{Options: o, Arch: c.Arch, Size: c.Size, Stride: c.Stride}, Output: c.Output, Labels: c.Labels,
	})
	return c.print(s, r, err)
}

type benchTrainCommand struct {
	Batch   int    `default:"64" help:"Images of a batch. Default: ${default}."`
	Patches int    `default:"196" help:"Patches of an image. Default: ${default}."`
	Input   int    `default:"768" help:"Width of patch tokens. Default: ${default}."`
	Hidden  int    `default:"768" help:"Width of the hidden layer. Default: ${default}."`
	Width   int    `default:"512" help:"Width of the shared space and of sentence vectors. Default: ${default}."`
	Text    string `enum:"none,frozen,linear" default:"none" placeholder:"KIND" help:"Text embedder: none, frozen or linear. Default: ${default}."`
	benchFlags
}

func (c *benchTrainCommand) Run(s *session) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	r, err := bench.Train(s, bench.TrainOptions{
		Options: o, Batch: c.Batch, Patches: c.Patches, Input: c.Input, Hidden: c.Hidden, Width: c.Width, TextEmbedder: c.Text,
	})
	return c.print(s, r, err)
}

type benchGemmCommand struct {
	Size string `default:"1576x768x3072" placeholder:"MxNxK" help:"Rows and columns of the product and the depth that is summed over. Default: ${default}."`
	benchFlags
}

func (c *benchGemmCommand) Run(s *session) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	var size [3]int
	parts := strings.Split(c.Size, "x")
	for i := range size {
		if len(parts) != len(size) {
			return usageError(fmt.Sprintf("--size is %q, expected three numbers such as 1576x768x3072", c.Size))
		}
		if size[i], err = strconv.Atoi(parts[i]); err != nil {
			return usageError(fmt.Sprintf("--size is %q, expected three numbers such as 1576x768x3072", c.Size))
		}
	}
	r, err := bench.Gemm(s, size[0], size[1], size[2], o)
	return c.print(s, r, err)
}

type benchCPUCommand struct {
	JSON bool `name:"json" help:"Print one JSON object."`
}

func (c *benchCPUCommand) Run(s *session) error {
	about := bench.Processor()
	if c.JSON {
		return s.printJSON(about)
	}
	for _, line := range about.Lines() {
		fmt.Fprintln(s.stdout, line)
	}
	return nil
}
