// Command pacl segments photos by words, and trains and measures the heads that do so.
//
// One file per command: its flags, its help and its exit status; everything else lives in the packages.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/pacl/pacl"
)

const description = `Open-vocabulary segmentation by Patch Aligned Contrastive Learning.

Segment photos by words:

    pacl segment --labels "cat, dog|puppy, person" photo.jpg

Train a head on captioned images, and measure it:

    pacl train --captions captions.tsv --vision DIR --text DIR --out head
    pacl eval voc20 --model head --data VOC2012

A model or an encoder is named by a directory, by a hub id (org/name), or by a name found in the directories of PACL_MODELS.`

// errInterrupted ends a command that the user stopped; what it had finished is kept.
var errInterrupted = errors.New("interrupted")

func main() {
	collectLate()
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run executes one command line and returns its exit status: 0 done, 1 the input was at fault, 2 the flags were.
func run(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		args = []string{"--help"}
	}
	var cli commands
	status := -1
	parser, err := kong.New(cli.only(args[0]),
		kong.Name("pacl"),
		kong.Description(description),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { status = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 110}),
		kong.Vars{"version": version()},
	)
	if err != nil {
		panic(err) // a mistake in the declarations of the commands
	}
	parsed, err := parser.Parse(args)
	if status >= 0 {
		return status // help or version was printed
	}
	if err != nil {
		fmt.Fprintf(stderr, "pacl: %v\n", err)
		if parsed := (*kong.ParseError)(nil); errors.As(err, &parsed) && parsed.Context != nil {
			fmt.Fprintf(stderr, "see: %s --help\n", commandPath(parsed.Context))
		}
		return 2
	}

	wait := time.Duration(0)
	if commandPath(parsed) == "pacl segment" {
		wait = grace
	}
	ctx, stop := interruptible(wait)
	defer stop()
	session := &session{Context: ctx, stdout: stdout, stderr: stderr, quiet: cli.Quiet}
	err = cli.Profiling.profile(func() error { return parsed.Run(session) })
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		fmt.Fprintf(stderr, "%s: %v\n", commandPath(parsed), errInterrupted)
		return 130
	default:
		var na *pacl.NotApplicableError
		if errors.As(err, &na) {
			err = fmt.Errorf("n/a: %w", err)
		}
		fmt.Fprintf(stderr, "%s: %v\n", commandPath(parsed), oneLine(err))
		var usage usageError
		if errors.As(err, &usage) {
			return 2
		}
		return 1
	}
}

// commandPath is the command as far as it was understood, as "pacl eval voc20".
func commandPath(c *kong.Context) string {
	if node := c.Selected(); node != nil {
		return node.FullPath()
	}
	return "pacl"
}

// oneLine keeps an error to the one line that a user reads.
func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// usageError is a combination of flags that the declarations cannot forbid.
type usageError string

func (e usageError) Error() string { return string(e) }

// version is the module's version, or the commit that the binary was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "pacl (unknown build)"
	}
	revision, modified := "", ""
	for _, setting := range info.Settings {
		switch {
		case setting.Key == "vcs.revision" && len(setting.Value) >= 12:
			revision = " " + setting.Value[:12]
		case setting.Key == "vcs.modified" && setting.Value == "true":
			modified = "+"
		}
	}
	return fmt.Sprintf("pacl %s%s%s %s", info.Main.Version, revision, modified, info.GoVersion)
}
