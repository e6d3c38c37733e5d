//go:build !unix

package diskcache

import "os"

// identity tells nothing where the system has no number of a file that is had simply.
func identity(os.FileInfo) string { return "" }
