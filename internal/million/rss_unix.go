//go:build unix

package main

import (
	"os"
	"runtime"
	"syscall"
)

// residentSize is the largest resident set of a process that has ended, in bytes.
func residentSize(p *os.ProcessState) int64 {
	usage, ok := p.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	if runtime.GOOS == "darwin" {
		return usage.Maxrss
	}
	return usage.Maxrss * 1024 // Linux and the BSDs count kilobytes
}
