package tokenizer

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// What is read of SentencePiece's model files (sentencepiece_model.proto): field numbers and enumeration values.
const (
	fieldPieces, fieldTrainer, fieldNormalizer = 1, 2, 3
	fieldPieceText, fieldPieceScore, fieldType = 1, 2, 3
	fieldModelType, fieldByteFallback          = 3, 35
	fieldUnknownID                             = 40
	fieldCharsMap, fieldAddPrefix, fieldTrim   = 2, 3, 4

	modelUnigram, modelBPE = 1, 2

	pieceNormal, pieceUserDefined, pieceByte = 1, 4, 6
)

// field is one field of a protobuf message: a number (of any wire type), or bytes.
type field struct {
	number int
	value  uint64
	data   []byte
}

var errTruncated = errors.New("the file ends within a field")

// eachField calls visit with the fields of a protobuf message in their order.
func eachField(message []byte, visit func(field) error) error {
	for len(message) > 0 {
		tag, n := binary.Uvarint(message)
		if n <= 0 {
			return errTruncated
		}
		message = message[n:]
		f := field{number: int(min(tag>>3, math.MaxInt32))}
		switch tag & 7 {
		case 0:
			if f.value, n = binary.Uvarint(message); n <= 0 {
				return errTruncated
			}
		case 1:
			if n = 8; len(message) < n {
				return errTruncated
			}
			f.value = binary.LittleEndian.Uint64(message)
		case 2:
			length, width := binary.Uvarint(message)
			if width <= 0 || length > uint64(len(message)-width) {
				return errTruncated
			}
			f.data = message[width : width+int(length)]
			n = width + int(length)
		case 5:
			if n = 4; len(message) < n {
				return errTruncated
			}
			f.value = uint64(binary.LittleEndian.Uint32(message))
		default:
			return fmt.Errorf("a field of wire type %d, not a SentencePiece model", tag&7)
		}
		message = message[n:]
		if err := visit(f); err != nil {
			return err
		}
	}
	return nil
}

// parseSentencePieceModel reads a serialised ModelProto.
func parseSentencePieceModel(data []byte) (*SentencePiece, error) {
	t := &SentencePiece{pieces: map[string]int32{}, defined: map[int32]bool{}, unknown: -1, prefix: true, trim: true}
	model, byteFallback := uint64(modelUnigram), false
	var charsmap []byte
	var texts []string
	err := eachField(data, func(f field) error {
		switch f.number {
		case fieldPieces:
			if len(texts) > maxVocabulary {
				return fmt.Errorf("more than %d pieces", maxVocabulary)
			}
			return t.readPiece(f.data, &texts)
		case fieldTrainer:
			return eachField(f.data, func(f field) error {
				switch f.number {
				case fieldModelType:
					model = f.value
				case fieldByteFallback:
					byteFallback = f.value != 0
				case fieldUnknownID:
					t.unknown = int32(min(f.value, math.MaxInt32))
				}
				return nil
			})
		case fieldNormalizer:
			return eachField(f.data, func(f field) error {
				switch f.number {
				case fieldCharsMap:
					charsmap = f.data
				case fieldAddPrefix:
					t.prefix = f.value != 0
				case fieldTrim:
					t.trim = f.value != 0
				}
				return nil
			})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if t.normalizer, err = parseCharsMap(charsmap); err != nil {
		return nil, err
	}
	switch model {
	case modelUnigram:
		t.prefix, t.trim, t.canonical = true, true, true
	case modelBPE:
		t.mergesOfScores(texts)
		for id := range t.defined {
			t.added = append(t.added, addedToken{ID: id, Content: texts[id]})
		}
		t.scores = nil
	default:
		return nil, fmt.Errorf("model type %d, expected unigram (1) or BPE (2)", model)
	}
	return t, t.finish(byteFallback)
}

// readPiece adds a piece; its id is its place. Control and byte pieces never stand in a text: their texts are kept for
// the ids only.
func (t *SentencePiece) readPiece(message []byte, texts *[]string) error {
	id := int32(len(*texts))
	text, score, kind := "", float32(0), uint64(pieceNormal)
	err := eachField(message, func(f field) error {
		switch f.number {
		case fieldPieceText:
			text = string(f.data)
		case fieldPieceScore:
			score = math.Float32frombits(uint32(f.value))
		case fieldType:
			kind = f.value
		}
		return nil
	})
	if err != nil {
		return err
	}
	if text == "" || !utf8.ValidString(text) {
		return fmt.Errorf("piece %d is %.40q, expected a text", id, text)
	}
	*texts = append(*texts, text)
	t.scores = append(t.scores, score)
	t.addPiece(text, id)
	if kind == pieceUserDefined {
		t.defined[id] = true
	}
	return nil
}

// mergesOfScores derives BPE's merges from the pieces: any two that make up a third are joined, the ones with the better
// score first.
func (t *SentencePiece) mergesOfScores(texts []string) {
	order := make([]int32, len(texts))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(t.scores[b], t.scores[a]) })
	t.merges = mergeTable{}
	for rank, id := range order {
		text := texts[id]
		if t.defined[id] || strings.HasPrefix(text, "<") && strings.HasSuffix(text, ">") && len(text) > 2 {
			continue
		}
		for cut := range text {
			left, okLeft := t.pieces[text[:cut]]
			right, okRight := t.pieces[text[cut:]]
			if okLeft && okRight {
				t.merges[[2]int32{left, right}] = merge{int32(rank), id}
			}
		}
	}
}

// charsMap is SentencePiece's normalisation of characters: a trie (of Darts-clone) from strings to their replacements.
type charsMap struct {
	trie         []uint32
	replacements []byte // each ended by a zero
}

func parseCharsMap(data []byte) (charsMap, error) {
	if len(data) == 0 {
		return charsMap{}, nil
	}
	if len(data) < 8 {
		return charsMap{}, fmt.Errorf("precompiled_charsmap of %d bytes", len(data))
	}
	size := binary.LittleEndian.Uint32(data)
	if size%4 != 0 || size == 0 || uint64(size) > uint64(len(data)-4) {
		return charsMap{}, fmt.Errorf("precompiled_charsmap claims a trie of %d of its %d bytes", size, len(data))
	}
	m := charsMap{trie: make([]uint32, size/4), replacements: data[4+size:]}
	for i := range m.trie {
		m.trie[i] = binary.LittleEndian.Uint32(data[4+4*i:])
	}
	return m, nil
}

// normalize replaces from left to right the longest strings that the map holds.
func (m charsMap) normalize(text string) string {
	if len(m.trie) == 0 {
		return text
	}
	var out strings.Builder
	for text != "" {
		replacement, length := m.longest(text)
		if length == 0 {
			_, length = utf8.DecodeRuneInString(text)
			replacement = text[:length]
		}
		out.WriteString(replacement)
		text = text[length:]
	}
	return out.String()
}

// maxReplacement bounds a replacement; the longest of NFKC has 33 bytes.
const maxReplacement = 256

// longest returns the replacement of the longest prefix of a text that the map holds, and the prefix's length.
func (m charsMap) longest(text string) (replacement string, length int) {
	offset := func(unit uint32) uint32 { return unit >> 10 << (unit & (1 << 9) >> 6) }
	at := offset(m.trie[0])
	for i := range len(text) {
		at ^= uint32(text[i])
		if int64(at) >= int64(len(m.trie)) {
			break
		}
		unit := m.trie[at]
		if unit&(1<<31|0xff) != uint32(text[i]) {
			break
		}
		at ^= offset(unit)
		if unit>>8&1 == 0 {
			continue
		}
		if int64(at) >= int64(len(m.trie)) {
			break
		}
		start := m.trie[at] & (1<<31 - 1)
		if int64(start) > int64(len(m.replacements)) {
			break
		}
		found, _, _ := strings.Cut(string(m.replacements[start:min(int64(start)+maxReplacement, int64(len(m.replacements)))]), "\x00")
		if utf8.ValidString(found) {
			replacement, length = found, i+1
		}
	}
	return replacement, length
}
