//go:build unix

package usage

import (
	"time"

	"golang.org/x/sys/unix"
)

// Processor is the processor time of the process so far, user and system. It does not grow while others use the machine.
func Processor() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
