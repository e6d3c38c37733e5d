//go:build !linux

package pretrain

// availableMemory is unknown here.
func availableMemory() int64 { return 0 }
