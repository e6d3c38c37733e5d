//go:build unix

package diskcache

import (
	"fmt"
	"os"
	"syscall"
)

// identity tells a file from another that took its name.
func identity(info os.FileInfo) string {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprint(s.Dev, s.Ino)
}
