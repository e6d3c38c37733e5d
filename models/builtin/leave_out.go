//go:build nobuiltin

package builtin

import "io/fs"

var files fs.FS
