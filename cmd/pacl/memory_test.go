package main

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

// TestCollectLate holds nothing, then more than is ever spared, then nothing again.
func TestCollectLate(t *testing.T) {
	percent := func() int {
		p := debug.SetGCPercent(100)
		debug.SetGCPercent(p)
		return p
	}
	before := percent()
	defer debug.SetGCPercent(before)
	t.Setenv("GOGC", "50")
	if collectLate(); percent() != before {
		t.Errorf("the user's GOGC became %d %%", percent())
	}
	t.Setenv("GOGC", "")
	if collectLate(); percent() < 1000 {
		t.Errorf("a small heap may grow by %d %% before it is collected", percent())
	}
	held := make([]byte, 2*spareBytes) // which nobody touches, so that it takes no memory
	reach := func(what string, reached func() bool) {
		for deadline := time.Now().Add(time.Minute); !reached(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s may grow by %d %% before it is collected", what, percent())
			}
			runtime.GC()
		}
	}
	reach("a large heap", func() bool { return percent() == 100 })
	runtime.KeepAlive(held)
	held = nil
	reach("a heap that was large", func() bool { return percent() >= 300 })
}
