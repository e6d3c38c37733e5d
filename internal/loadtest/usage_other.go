//go:build !unix

package main

import "time"

var processStart = time.Now()

// processorTime is the clock's where the system does not tell the processor's.
func processorTime() time.Duration { return time.Since(processStart) }
