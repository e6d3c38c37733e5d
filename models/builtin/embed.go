//go:build !nobuiltin

package builtin

import (
	"embed"
	"io/fs"
)

//go:embed README.md pacl.json head.safetensors clip/config.json clip/model.safetensors clip/preprocessor_config.json
//go:embed clip/vocab.json clip/merges.txt clip/tokenizer_config.json
var embedded embed.FS

var files fs.FS = embedded
