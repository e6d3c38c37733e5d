//go:build unix && !linux

package diskcache

import "os"

func readIntoLargePages(*os.File, int) (data, mapping []byte, ok bool) { return nil, nil, false }
