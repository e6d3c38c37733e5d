package main

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestGrowth(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{
		{0, 3200}, {1 << 20, 3200}, {4 << 20, 3200}, {8 << 20, 1600}, {64 << 20, 200}, {spareBytes, 100}, {spareBytes + 1, 100}, {1 << 40, 100},
	} {
		if got := growth(c.live); got != c.want {
			t.Errorf("%d bytes live: %d %%, expected %d", c.live, got, c.want)
		}
	}
}

// TestCollectLate holds more than is ever spared, and then no more.
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
	collectLate()
	reach := func(what string, reached func(int) bool) {
		for deadline := time.Now().Add(time.Minute); !reached(percent()); runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatalf("%s may grow by %d %% before it is collected", what, percent())
			}
			runtime.GC()
		}
	}
	held := make([]byte, 2*spareBytes) // which nobody touches, so that it takes no memory
	reach("a large heap", func(p int) bool { return p == 100 })
	runtime.KeepAlive(held)
	held = nil
	reach("a heap that was large", func(p int) bool { return p > 100 })
}
