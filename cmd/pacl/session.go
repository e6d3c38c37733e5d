package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"runtime/trace"
	"time"

	"golang.org/x/term"
)

// session is what every command is given: the context that an interrupt ends, and where to write.
type session struct {
	context.Context
	stdout, stderr io.Writer
	quiet          bool
}

// logf writes a line for people to standard error unless --quiet is set.
func (s *session) logf(format string, args ...any) {
	if !s.quiet {
		fmt.Fprintf(s.stderr, format+"\n", args...)
	}
}

// printJSON writes one object on standard output.
func (s *session) printJSON(v any) error {
	encoder := json.NewEncoder(s.stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// printLine writes one object on one line of standard output.
func (s *session) printLine(v any) error { return json.NewEncoder(s.stdout).Encode(v) }

// progress returns a function that shows a line of progress: rewritten in place on a terminal, every ten seconds elsewhere.
func (s *session) progress() (show func(line string, done bool)) {
	if s.quiet {
		return func(string, bool) {}
	}
	file, ok := s.stderr.(*os.File)
	terminal := ok && term.IsTerminal(int(file.Fd()))
	var last time.Time
	return func(line string, done bool) {
		interval := 10 * time.Second
		if terminal {
			interval = 100 * time.Millisecond
		}
		if !done && time.Since(last) < interval {
			return
		}
		last = time.Now()
		switch {
		case terminal && done:
			fmt.Fprintf(s.stderr, "\r\x1b[K%s\n", line)
		case terminal:
			fmt.Fprintf(s.stderr, "\r\x1b[K%s", line)
		default:
			fmt.Fprintln(s.stderr, line)
		}
	}
}

// profiling holds the flags that every command takes to look at its speed.
type profiling struct {
	CPUProfile string `name:"cpuprofile" placeholder:"FILE" help:"Write a CPU profile for go tool pprof."`
	Trace      string `placeholder:"FILE" help:"Write an execution trace for go tool trace."`
}

// profile runs f under the profiles that were asked for.
func (p profiling) profile(f func() error) error {
	if p.CPUProfile != "" {
		file, err := os.Create(p.CPUProfile)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	if p.Trace != "" {
		file, err := os.Create(p.Trace)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := trace.Start(file); err != nil {
			return err
		}
		defer trace.Stop()
	}
	return f()
}
