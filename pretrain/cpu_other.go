//go:build !unix

package pretrain

import "time"

var processStart = time.Now()

// processorSeconds is the time since the start, for want of a processor clock.
func processorSeconds() float64 { return time.Since(processStart).Seconds() }
