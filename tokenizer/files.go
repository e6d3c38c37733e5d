package tokenizer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pacl/pacl/internal/diskcache"
)

// maxFile bounds what is read of one tokenizer file; the largest published ones have about 40 MB.
const maxFile = 128 << 20

// readFile reads a whole file of a model directory, refusing what no tokenizer can be.
func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read tokenizer: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read tokenizer %s: %w", path, err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("read tokenizer %s: more than %d bytes", path, maxFile)
	}
	return data, nil
}

func readJSON(path string, into any) error {
	data, err := readFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("read tokenizer %s: %w", path, err)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// pair is one merge rule; tokenizer.json writes it as "a b" in older files and as ["a", "b"] in newer ones.
type pair struct{ left, right string }

func (p *pair) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		var joined string
		if err := json.Unmarshal(data, &joined); err != nil {
			return err
		}
		left, right, ok := cutMerge(joined)
		if !ok {
			return fmt.Errorf("merge %q: expected two tokens with a space between", joined)
		}
		p.left, p.right = left, right
		return nil
	}
	var parts []string
	if err := json.Unmarshal(data, &parts); err != nil {
		return err
	}
	if len(parts) != 2 {
		return fmt.Errorf("merge of %d tokens, expected 2", len(parts))
	}
	p.left, p.right = parts[0], parts[1]
	return nil
}

// addedToken is a token that is found in the text before everything else.
type addedToken struct {
	ID      int32  `json:"id"`
	Content string `json:"content"`
	Special bool   `json:"special"`
}

// tokenizerFile is what is used of a tokenizer.json. The vocabulary's form depends on the model's type.
type tokenizerFile struct {
	AddedTokens []addedToken    `json:"added_tokens"`
	Normalizer  json.RawMessage `json:"normalizer"`
	Model       struct {
		Type         string          `json:"type"`
		Vocab        json.RawMessage `json:"vocab"`
		Merges       []pair          `json:"merges"`
		UnknownToken string          `json:"unk_token"`
		UnknownID    *int32          `json:"unk_id"`
		Prefix       *string         `json:"continuing_subword_prefix"`
		Suffix       string          `json:"end_of_word_suffix"`
		MaxChars     int             `json:"max_input_chars_per_word"`
		ByteFallback bool            `json:"byte_fallback"`
	} `json:"model"`
}

func readTokenizerFile(dir string) (*tokenizerFile, error) {
	var file tokenizerFile
	if err := readJSON(filepath.Join(dir, "tokenizer.json"), &file); err != nil {
		return nil, err
	}
	return &file, nil
}

// Digest is a SHA-256 over the files of a directory that say how texts are cut: with another one texts may be cut
// otherwise.
func Digest(dir string) (string, error) {
	var files []diskcache.File
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "vocab.txt"} {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		switch {
		case err == nil:
			files = append(files, diskcache.File{Path: path, Info: info})
		case !errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("read tokenizer: %w", err)
		}
	}
	return diskcache.Hash("tokenizer 1", files, func() (string, error) {
		digest := sha256.New()
		for _, f := range files {
			data, err := readFile(f.Path)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(digest, "%s %d\n", filepath.Base(f.Path), len(data))
			digest.Write(data)
		}
		return hex.EncodeToString(digest.Sum(nil)), nil
	})
}
