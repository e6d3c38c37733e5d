//go:build unix

package kernel

import (
	"syscall"
	"time"
)

// processorTime is what the process has used, so that a share of the peak does
// not depend on what else the machine does.
func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
