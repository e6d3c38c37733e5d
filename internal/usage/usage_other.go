//go:build !unix

package usage

import "time"

var start = time.Now()

// Processor is the time since the start, for want of a processor clock.
func Processor() time.Duration { return time.Since(start) }
