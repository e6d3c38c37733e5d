//go:build !unix

package kernel

import "time"

var benchmarkStart = time.Now()

func processorTime() time.Duration { return time.Since(benchmarkStart) }
