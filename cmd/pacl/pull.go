package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/pacl/pacl"
	"github.com/pacl/pacl/hub"
)

type pullCommand struct {
	IDs []string `arg:"" name:"id" help:"Hub ids: organisation/name, or organisation/name@revision."`
}

// Help is what kong prints below the flags.
func (c *pullCommand) Help() string {
	return `Only the files that pacl reads are loaded, into the cache that Hugging Face's tools share; what is there is not loaded again,
and what was interrupted goes on. Every command then takes the id for a directory. The variables of those tools are honoured:
HF_HOME and HF_HUB_CACHE (where the cache is), HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE.`
}

func (c *pullCommand) Run(s *session) error {
	for _, id := range c.IDs {
		if _, err := os.Stat(id); err == nil && !hub.IsID(id) {
			return fmt.Errorf("%s is a path, expected a hub id like organisation/name", id)
		}
		show := s.progress()
		bar := downloadBar{name: id, started: time.Now(), had: -1}
		dir, err := hub.Pull(s, id, hub.PullOptions{Progress: func(p hub.Progress) {
			show(bar.line(p, time.Now()), p.Done == p.Total)
		}})
		if err != nil {
			return err
		}
		fmt.Fprintln(s.stdout, dir)
		missing, err := pacl.MissingEncoders(dir)
		if err != nil {
			return err
		}
		for _, encoder := range missing {
			s.logf("%s was trained with %s, which is not here: pacl pull %s", id, encoder, encoder)
		}
	}
	return nil
}

// downloadBar draws how far a download is.
type downloadBar struct {
	name    string
	started time.Time
	had     int64 // bytes that were there at the first call, -1 before it
}

const barWidth = 24

func (b *downloadBar) line(p hub.Progress, now time.Time) string {
	if b.had < 0 {
		b.had = p.Done
	}
	if p.Total <= 0 {
		return fmt.Sprintf("%s: %s of %s", b.name, size(p.Done), p.File)
	}
	share := min(max(float64(p.Done)/float64(p.Total), 0), 1)
	full := int(share * barWidth)
	line := fmt.Sprintf("%s [%s%s] %3.0f %% of %s", b.name, strings.Repeat("#", full), strings.Repeat(".", barWidth-full), 100*share, size(p.Total))
	elapsed := now.Sub(b.started).Seconds()
	if rate := float64(p.Done-b.had) / elapsed; rate > 0 && elapsed > 0.5 {
		line += fmt.Sprintf(", %s/s", size(int64(rate)))
		if left := time.Duration(float64(p.Total-p.Done) / rate * float64(time.Second)); left >= time.Second && left < 1000*time.Hour {
			line += fmt.Sprintf(", %v left", left.Round(time.Second))
		}
	}
	return line
}

// size writes bytes as people read them.
func size(n int64) string {
	for _, unit := range []struct {
		name string
		size int64
	}{{"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}} {
		if n >= unit.size {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(unit.size), unit.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
