// Package models holds the heads that come with pacl, each a PACL model directory with its card.
package models

import (
	"embed"
	"io/fs"
)

//go:embed vit-tiny-16-names/pacl.json vit-tiny-16-names/head.safetensors
var files embed.FS

// Shipped is the name of the head that is taken where no model is named: ViT-Ti/16 with a table of names.
const Shipped = "vit-tiny-16-names"

// Open returns the directory of a head that comes with pacl.
func Open(name string) (fs.FS, bool) {
	if _, err := fs.Stat(files, name); err != nil {
		return nil, false
	}
	dir, err := fs.Sub(files, name)
	return dir, err == nil
}
