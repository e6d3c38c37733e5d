package feature

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"unsafe"

	"github.com/pacl/pacl/weights"
)

// Failure is an image that could not be read.
type Failure struct {
	Key   string `json:"key"`
	Error string `json:"error"`
}

// shardReport counts what became of the samples of a shard; it is kept in the shard's metadata, so that the report of a run
// that was interrupted is that of one that was not.
type shardReport struct {
	Samples          int       `json:"samples"`           // read from the list
	Failures         []Failure `json:"failures"`          // images that could not be read
	TextlessCaptions int       `json:"textless_captions"` // captions without a name
	TextlessImages   int       `json:"textless_images"`   // images without any caption that has one
}

const reportKey = "report"

func shardPath(dir string, number int) string {
	return filepath.Join(dir, fmt.Sprintf("shard-%05d.safetensors", number))
}

// builder gathers one shard in memory.
type builder struct {
	report shardReport
	width  int // D_t

	index           []int64   // [n] number of each image in the list
	tokens          []uint16  // bf16 [n, V, T, D_in]
	sentenceOffsets []int64   // [n+1] first sentence of each image
	sentences       []float32 // [m, D_t]
	sentenceTexts   []string  // [m]
	extraOffsets    []int64   // [m+1] first extra text of each sentence
	extraIDs        []int64   // extra texts of each sentence, as rows of extras
	extras          []float32 // [e, D_t] each distinct extra text once
	extraTexts      []string  // [e]
	extraRows       map[string]int64
	keys            []string // [n]
}

func newBuilder(width int) *builder {
	return &builder{width: width, sentenceOffsets: []int64{0}, extraOffsets: []int64{0}, extraRows: map[string]int64{}}
}

// add appends an image with its texts.
func (b *builder) add(index int64, key string, tokens []uint16, captions []Caption) {
	b.index = append(b.index, index)
	b.keys = append(b.keys, key)
	b.tokens = append(b.tokens, tokens...)
	for _, c := range captions {
		b.sentences = append(b.sentences, c.Vector...)
		b.sentenceTexts = append(b.sentenceTexts, c.Text)
		for _, e := range c.Extras {
			row, known := b.extraRows[e.Text]
			if !known {
				row = int64(len(b.extraTexts))
				b.extraRows[e.Text] = row
				b.extraTexts = append(b.extraTexts, e.Text)
				b.extras = append(b.extras, e.Vector...)
			}
			b.extraIDs = append(b.extraIDs, row)
		}
		b.extraOffsets = append(b.extraOffsets, int64(len(b.extraIDs)))
	}
	b.sentenceOffsets = append(b.sentenceOffsets, int64(len(b.sentenceTexts)))
}

// section is one tensor of a shard on its way to the file.
type section struct {
	name  string
	dtype string
	shape []int
	data  []byte
}

func (b *builder) sections(views, patches, tokenWidth int) []section {
	n, m, e := len(b.keys), len(b.sentenceTexts), len(b.extraTexts)
	ids := func(name string, values []int64) section {
		return section{name, "I64", []int{len(values)}, bytesOf(values)}
	}
	list := []section{ids("counts", []int64{int64(n), int64(m), int64(e)})}
	if n > 0 {
		list = append(list,
			section{"tokens", "BF16", []int{n, views, patches, tokenWidth}, bytesOf(b.tokens)},
			ids("index", b.index),
			ids("sentence_offsets", b.sentenceOffsets),
			section{"sentences", "F32", []int{m, b.width}, bytesOf(b.sentences)},
			ids("extra_offsets", b.extraOffsets))
		list = append(list, textSections("keys", b.keys)...)
		list = append(list, textSections("sentence_texts", b.sentenceTexts)...)
	}
	if e > 0 {
		list = append(list, ids("extra_ids", b.extraIDs), section{"extras", "F32", []int{e, b.width}, bytesOf(b.extras)})
		list = append(list, textSections("extra_texts", b.extraTexts)...)
	}
	return list
}

// textSections stores texts one after the other with their offsets.
func textSections(name string, texts []string) []section {
	offsets := []int64{0}
	var joined []byte
	for _, t := range texts {
		joined = append(joined, t...)
		offsets = append(offsets, int64(len(joined)))
	}
	if len(joined) == 0 {
		joined = []byte{0} // readers of safetensors differ about empty tensors
	}
	return []section{
		{name, "U8", []int{len(joined)}, joined},
		{name + "_offsets", "I64", []int{len(offsets)}, bytesOf(offsets)},
	}
}

// write stores the shard as a safetensors file, atomically.
func (b *builder) write(path string, write writeFile, views, patches, tokenWidth int) error {
	report, err := json.Marshal(b.report)
	if err != nil {
		return err
	}
	sections := b.sections(views, patches, tokenWidth)
	header := map[string]any{"__metadata__": map[string]string{reportKey: string(report)}}
	offset := 0
	for _, s := range sections {
		header[s.name] = map[string]any{"dtype": s.dtype, "shape": s.shape, "data_offsets": []int{offset, offset + len(s.data)}}
		offset += len(s.data)
	}
	text, err := json.Marshal(header)
	if err != nil {
		return err
	}
	// The data begin on a cache line, so that tokens can be used where they are mapped.
	for (8+len(text))%64 != 0 {
		text = append(text, ' ')
	}
	return write(path, func(w io.Writer) error {
		if _, err := w.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(text)))); err != nil {
			return err
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
		for _, s := range sections {
			if _, err := w.Write(s.data); err != nil {
				return err
			}
		}
		return nil
	})
}

// shard is a mapped shard whose every offset has been checked.
type shard struct {
	set             *weights.Set
	report          shardReport
	n               int
	tokens          []uint16 // bf16 [n, V, T, D_in], mapped
	index           []int64
	sentenceOffsets []int64
	sentences       []float32
	extraOffsets    []int64
	extraIDs        []int64
	extras          []float32
	keys            texts
	sentenceTexts   texts
	extraTexts      texts
}

// texts are strings one after the other in a mapped array.
type texts struct {
	joined  []byte
	offsets []int64
}

func (t texts) at(i int) string { return string(t.joined[t.offsets[i]:t.offsets[i+1]]) }

// readShardReport reads the report of a finished shard.
func readShardReport(set *weights.Set) (shardReport, error) {
	var r shardReport
	if err := json.Unmarshal([]byte(set.Metadata()[reportKey]), &r); err != nil {
		return r, fmt.Errorf("its report is damaged: %w", err)
	}
	if r.Samples < 0 || r.TextlessCaptions < 0 || r.TextlessImages < 0 {
		return r, fmt.Errorf("its report counts below zero")
	}
	return r, nil
}

// openShard maps a shard and checks it against the manifest.
func openShard(path string, m Manifest) (*shard, error) {
	set, err := weights.Open(path)
	if err != nil {
		return nil, fmt.Errorf("feature cache: %w", err)
	}
	s, err := checkShard(set, m)
	if err != nil {
		set.Close()
		return nil, fmt.Errorf("feature cache: %s: %w", path, err)
	}
	return s, nil
}

func checkShard(set *weights.Set, m Manifest) (*shard, error) {
	s := &shard{set: set}
	var err error
	if s.report, err = readShardReport(set); err != nil {
		return nil, err
	}
	r := sectionReader{set: set}
	counts := need[int64](&r, "counts", weights.I64, 3)
	if r.err != nil {
		return nil, r.err
	}
	for i, c := range counts {
		if c < 0 || c > math.MaxInt32 {
			return nil, fmt.Errorf("counts[%d] is %d", i, c)
		}
	}
	n, sentences, extras := int(counts[0]), int(counts[1]), int(counts[2])
	s.n = n
	if n == 0 {
		return s, nil
	}
	s.tokens = need[uint16](&r, "tokens", weights.BF16, n, m.Preprocessing.Views.Count(), m.Patches, m.Vision.Width)
	s.index = need[int64](&r, "index", weights.I64, n)
	s.sentenceOffsets = r.offsets("sentence_offsets", n, sentences, 1)
	s.sentences = need[float32](&r, "sentences", weights.F32, sentences, m.Text.Width)
	s.keys = r.texts("keys", n)
	s.sentenceTexts = r.texts("sentence_texts", sentences)
	if extras > 0 {
		s.extraIDs = need[int64](&r, "extra_ids", weights.I64, -1)
		s.extras = need[float32](&r, "extras", weights.F32, extras, m.Text.Width)
		s.extraTexts = r.texts("extra_texts", extras)
	}
	s.extraOffsets = r.offsets("extra_offsets", sentences, len(s.extraIDs), 0)
	if r.err != nil {
		return nil, r.err
	}
	for i, id := range s.extraIDs {
		if id < 0 || id >= counts[2] {
			return nil, fmt.Errorf("extra_ids[%d] is %d, expected 0 to %d", i, id, counts[2]-1)
		}
	}
	for i := range s.index {
		if s.index[i] < 0 || i > 0 && s.index[i] <= s.index[i-1] {
			return nil, fmt.Errorf("index[%d] is %d, expected rising numbers", i, s.index[i])
		}
	}
	return s, nil
}

// sectionReader reads sections until the first that is wrong.
type sectionReader struct {
	set *weights.Set
	err error
}

// need returns the numbers of a section where they are mapped.
func need[N int64 | uint16 | float32 | uint8](r *sectionReader, name string, dtype weights.DType, shape ...int) []N {
	if r.err != nil {
		return nil
	}
	t, err := r.set.Need(name, shape...)
	if err != nil {
		r.err = err
		return nil
	}
	if t.DType != dtype {
		r.err = fmt.Errorf("tensor %s: type is %v, expected %v", name, t.DType, dtype)
		return nil
	}
	return numbersOf[N](t.Data)
}

// offsets reads n+1 offsets into an array of the length given, each at least step after the one before.
func (r *sectionReader) offsets(name string, n, length int, step int64) []int64 {
	offsets := need[int64](r, name, weights.I64, n+1)
	if r.err != nil {
		return nil
	}
	if offsets[0] != 0 || offsets[n] != int64(length) {
		r.err = fmt.Errorf("%s run from %d to %d, expected 0 to %d", name, offsets[0], offsets[n], length)
		return nil
	}
	for i := range n {
		if offsets[i+1] < offsets[i]+step || offsets[i+1] > int64(length) {
			r.err = fmt.Errorf("%s[%d] is %d after %d", name, i+1, offsets[i+1], offsets[i])
			return nil
		}
	}
	return offsets
}

func (r *sectionReader) texts(name string, n int) texts {
	t := texts{joined: need[uint8](r, name, weights.U8, -1)}
	if r.err != nil {
		return texts{}
	}
	offsets := need[int64](r, name+"_offsets", weights.I64, n+1)
	if r.err != nil {
		return texts{}
	}
	if end := offsets[n]; end < 0 || end > int64(len(t.joined)) {
		r.err = fmt.Errorf("%s_offsets end at %d, expected at most %d", name, end, len(t.joined))
		return texts{}
	}
	t.offsets = r.offsets(name+"_offsets", n, int(offsets[n]), 0)
	return t
}

// bytesOf returns the memory of numbers; every system that pacl is built for is little-endian, as the files are.
func bytesOf[N int64 | uint16 | float32](numbers []N) []byte {
	if len(numbers) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&numbers[0])), len(numbers)*int(unsafe.Sizeof(numbers[0])))
}

// numbersOf returns bytes as numbers, where they are if they are aligned and copied if not.
func numbersOf[N int64 | uint16 | float32 | uint8](data []byte) []N {
	var zero N
	size := int(unsafe.Sizeof(zero))
	n := len(data) / size
	if n == 0 {
		return nil
	}
	if uintptr(unsafe.Pointer(&data[0]))%uintptr(size) == 0 {
		return unsafe.Slice((*N)(unsafe.Pointer(&data[0])), n)
	}
	numbers := make([]N, n)
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&numbers[0])), n*size), data)
	return numbers
}
