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
	debug.SetGCPercent(growth(live[0].Value.Uint64()))
	runtime.AddCleanup(new(*int), func(struct{}) { collectLate() }, struct{}{}) // again behind the next collection
}

// growth is the percentage of the live bytes by which the heap may grow, as GOGC counts it.
func growth(live uint64) int {
	const usual, least = 100, 4 << 20 // the runtime's own, bytes
	return int(max(usual, usual*spareBytes/max(live, least)))
}
