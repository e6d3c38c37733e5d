// Package usage tells what the process has used: processor time and memory.
package usage

import (
	"os"
	"runtime"
	"strconv"
	"strings"
)

// Resident is the memory that is resident now, in bytes; where the system does not tell, what Go has got from it.
func Resident() int64 { return memory("VmRSS:") }

// PeakResident is the most memory that was resident so far, in bytes; where the system does not tell, what Go has got
// from it.
func PeakResident() int64 { return memory("VmHWM:") }

func memory(line string) int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err == nil {
		for l := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(l, line); ok {
				kilobytes, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
				if err == nil {
					return kilobytes << 10
				}
			}
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys)
}
