package hub

import (
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pacl/pacl/internal/lazyregexp"
)

// small are the files beside the weights that some family reads.
var small = []string{
	"config.json", "open_clip_config.json", "pacl.json", "preprocessor_config.json", "processor_config.json",
	"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
	"vocab.json", "merges.txt", "vocab.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model",
	"modules.json", "1_Pooling/config.json",
}

// weightNames are the files that hold all weights, the first that exists being loaded; an index stands for its shards.
var weightNames = []string{
	"head.safetensors", "model.safetensors", "model.safetensors.index.json", "open_clip_model.safetensors",
	"open_clip_pytorch_model.bin", "pytorch_model.bin", "pytorch_model.bin.index.json",
}

var shardPattern = lazyregexp.New(`^(.+)-\d{5}-of-\d{5}(\.\w+)$`)

// neededFiles picks the files of a model that the program reads: small ones, and one set of weights, safetensors before
// pickles. Names are kept in the order given, the weights last.
func neededFiles(names []string) ([]string, error) {
	var needed []string
	for _, name := range names {
		if slices.Contains(small, name) {
			needed = append(needed, name)
		}
	}
	if slices.Contains(names, "pacl.json") && slices.Contains(names, "README.md") {
		needed = append(needed, "README.md") // the head's card
	}
	weights := neededWeights(names)
	if len(weights) == 0 {
		return nil, errors.New("it holds no weights: expected safetensors, .pt, .pth or .bin files")
	}
	return append(needed, weights...), nil
}

func neededWeights(names []string) []string {
	for _, name := range weightNames {
		if !slices.Contains(names, name) {
			continue
		}
		stem, isIndex := strings.CutSuffix(name, ".index.json")
		if !isIndex {
			return []string{name}
		}
		ending := path.Ext(stem)
		stem = strings.TrimSuffix(stem, ending)
		result := []string{name}
		for _, shard := range names {
			if match := shardPattern().FindStringSubmatch(shard); match != nil && match[1] == stem && match[2] == ending {
				result = append(result, shard)
			}
		}
		return result
	}
	for _, endings := range [][]string{{".safetensors"}, {".pt", ".pth", ".bin"}} {
		var found []string
		for _, name := range names {
			if !strings.Contains(name, "/") && slices.Contains(endings, path.Ext(name)) && name != "training_args.bin" {
				found = append(found, name)
			}
		}
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

// same says whether a snapshot's file leads to its blob, or is a whole copy of it.
func same(name, blob string) bool {
	there, err := os.Stat(name)
	if err != nil {
		return false
	}
	info, err := os.Stat(blob)
	return err == nil && (os.SameFile(there, info) || isCopy(name) && there.Size() == info.Size())
}

// isCopy says whether a file is no link: copies are renamed into place when they are whole.
func isCopy(name string) bool {
	info, err := os.Lstat(name)
	return err == nil && info.Mode().IsRegular()
}

func copyFile(name, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// writeAtomically writes a small file under a temporary name and renames it.
func writeAtomically(name, text string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	out, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	_, err = out.WriteString(text)
	err = errors.Join(err, out.Chmod(0o644), out.Sync(), out.Close())
	if err == nil {
		err = os.Rename(out.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(out.Name()))
	}
	return nil
}
