package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// spareBytes is by how much the heap grows, at least, before it is collected.
const spareBytes = 128 << 20

// collectLate lets the heap double before it is collected, as always, but never for less than spareBytes: a photo is segmented in
// less, where eight collections of a few megabytes took 3 % of the processor time, and now and then 15 %. GOGC in the environment is
// left as it is.
func collectLate() {
	if os.Getenv("GOGC") != "" {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	const usual, least = 100, 4 << 20 // the runtime's own, bytes
	debug.SetGCPercent(int(max(usual, usual*spareBytes/max(live[0].Value.Uint64(), least))))
	runtime.AddCleanup(new(*int), func(struct{}) { collectLate() }, struct{}{}) // again behind the next collection
}
