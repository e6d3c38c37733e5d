package weights

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// expectedTensor is an entry of the JSON that scripts/crosscheck/archives.py wrote beside an archive.
type expectedTensor struct {
	Shape   []int
	Type    string
	Numbers []float64
}

// compareExpected checks a set against what PyTorch says that it holds.
func compareExpected(t *testing.T, set *Set, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	expected := map[string]expectedTensor{}
	if err := json.Unmarshal(text, &expected); err != nil {
		t.Fatal(err)
	}
	if len(set.Names()) != len(expected) {
		t.Errorf("%d tensors %v, expected %d", len(set.Names()), set.Names(), len(expected))
	}
	for name, want := range expected {
		got, ok := set.Get(name)
		if !ok {
			t.Errorf("tensor %s is missing", name)
			continue
		}
		if got.DType != torchTypes[want.Type] || !slices.Equal(got.Shape, want.Shape) {
			t.Errorf("%s is %s%v, expected %s%v", name, got.DType, got.Shape, want.Type, want.Shape)
		}
		if !slices.Equal(got.Float64(), want.Numbers) {
			t.Errorf("%s is %v, expected %v", name, got.Float64(), want.Numbers)
		}
	}
}

func TestArchivesOfPyTorch(t *testing.T) {
	files, err := filepath.Glob("testdata/*.pt")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d archives, expected all that scripts/crosscheck/archives.py writes: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			set, err := Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer set.Close()
			compareExpected(t, set, strings.TrimSuffix(file, ".pt")+".json")
		})
	}
}

// repack writes an archive again: entries changed by a function, stored or compressed, in a folder of another name.
func repack(t testing.TB, file string, method uint16, change func(name string, data []byte) []byte, extra map[string]string) []byte {
	t.Helper()
	reader, err := zip.OpenReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	entries := map[string]string{}
	for _, entry := range reader.File {
		content, err := entry.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(content)
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(entry.Name, "/")
		entries[name] = string(change(name, data))
	}
	for name, data := range extra {
		entries[name] = data
	}
	return pack(t, method, entries)
}

func pack(t testing.TB, method uint16, entries map[string]string) []byte {
	t.Helper()
	var buffer bytes.Buffer
	writer := zip.NewWriter(&buffer)
	for name, data := range entries {
		entry, err := writer.CreateHeader(&zip.FileHeader{Name: "archive/" + name, Method: method})
		if err == nil {
			_, err = io.WriteString(entry, data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

func writeFile(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "w.pt")
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func keep(_ string, data []byte) []byte { return data }

// An archive of a big-endian machine, and one that was packed again with compression, hold the same numbers.
func TestRepackedArchives(t *testing.T) {
	swapViews := func(name string, data []byte) []byte { // all storages of views2.pt but "1" are float32
		size := 4
		if name == "data/1" {
			size = 2
		}
		if strings.HasPrefix(name, "data/") {
			for number := range slices.Chunk(data, size) {
				slices.Reverse(number)
			}
		}
		return data
	}
	for name, data := range map[string][]byte{
		"big-endian":    repack(t, "testdata/views2.pt", zip.Store, swapViews, map[string]string{"byteorder": "big"}),
		"little-endian": repack(t, "testdata/views2.pt", zip.Store, keep, map[string]string{"byteorder": "little"}),
		"compressed":    repack(t, "testdata/views2.pt", zip.Deflate, keep, nil),
	} {
		t.Run(name, func(t *testing.T) {
			set, err := Open(writeFile(t, data))
			if err != nil {
				t.Fatal(err)
			}
			defer set.Close()
			compareExpected(t, set, "testdata/views2.json")
		})
	}
}

// Storages that lie in the file as they are become views of it, shared ones the same bytes.
func TestArchiveSharesStorage(t *testing.T) {
	set, err := Open("testdata/views2.pt")
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	base, _ := set.Get("base")
	row, _ := set.Get("row")
	if &row.Data[0] != &base.Data[4*12] {
		t.Error("the row of a matrix is a copy, expected a view of the same bytes")
	}
}

// Pieces of pickles, in protocol 2.
func unicode(s string) string {
	return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s
}

func integer(n int64) string {
	return "\x8a\x08" + string(binary.LittleEndian.AppendUint64(nil, uint64(n)))
}

func integersOf(n ...int64) string {
	s := "("
	for _, v := range n {
		s += integer(v)
	}
	return s + "t"
}

// tensorOf pickles a view of the storage "0" of float32.
func tensorOf(count, offset int64, shape, stride []int64) string {
	return "ctorch._utils\n_rebuild_tensor_v2\n((" + unicode("storage") + "ctorch\nFloatStorage\n" + unicode("0") + unicode("cpu") +
		integer(count) + "tQ" + integer(offset) + integersOf(shape...) + integersOf(stride...) + "\x89ccollections\nOrderedDict\n)RtR"
}

func dictOf(entries ...string) string {
	s := "}("
	for i := 0; i < len(entries); i += 2 {
		s += unicode(entries[i]) + entries[i+1]
	}
	return s + "u"
}

func archiveOf(t testing.TB, pickle, storage string) []byte {
	return pack(t, zip.Store, map[string]string{"data.pkl": "\x80\x02" + pickle + ".", "data/0": storage, "version": "3"})
}

func TestHostileArchives(t *testing.T) {
	numbers := strings.Repeat("\x00\x00\x80\x3f", 6)
	state := func(count, offset int64, shape, stride []int64) []byte {
		return archiveOf(t, dictOf("a", tensorOf(count, offset, shape, stride)), numbers)
	}
	good := dictOf("a", tensorOf(6, 0, []int64{2, 3}, []int64{3, 1}))
	laughs := tensorOf(6, 0, []int64{6}, []int64{1}) + "q\x00"
	for i := range 40 {
		laughs = dictOf("x", laughs, "y", "h"+string(rune(i))) + "q" + string(rune(i+1))
	}
	tests := []struct {
		name string
		data []byte
		want string // "" where it is read
	}{
		{"good", archiveOf(t, good, numbers), ""},
		{"os.system", archiveOf(t, "cos\nsystem\n"+unicode("touch /tmp/pwned")+"\x85R", numbers), `asks for "os.system"`},
		{"posix by stack", archiveOf(t, unicode("posix")+unicode("system")+"\x93"+unicode("id")+"\x85R", numbers), `asks for "posix.system"`},
		{"eval in a dict", archiveOf(t, dictOf("a", "cbuiltins\neval\n"+unicode("1")+"\x85R"), numbers), `asks for "builtins.eval"`},
		{"dotted name", archiveOf(t, "ctorch\nserialization.os.system\n"+unicode("id")+"\x85R", numbers), "asks for"},
		{"module", archiveOf(t, "ctorch.nn.modules.linear\nLinear\n)\x81", numbers), `asks for "torch.nn.modules.linear.Linear"`},
		{"class object called", archiveOf(t, "ctorch\nFloatStorage\n)R", numbers), "is no function"},
		{"other codes", archiveOf(t, "i", numbers), "code 0x69 is not among"},
		{"a million nested tuples", archiveOf(t, ")"+strings.Repeat("\x85", 1e6), numbers), "a tuple of 1 without tensors"},
		{"a million nested tuples beside a tensor", archiveOf(t, dictOf("a", tensorOf(6, 0, []int64{6}, []int64{1}), "b", ")"+strings.Repeat("\x85", 1e6)), numbers), ""},
		{"a million nested dicts", archiveOf(t, strings.Repeat("}"+unicode(""), 3e5)+"N"+strings.Repeat("s", 3e5), numbers), "deep in each other"},
		{"dicts in themselves", archiveOf(t, "}q\x00("+unicode("a")+"h\x00u", numbers), "deep in each other"},
		{"a billion laughs", archiveOf(t, laughs, numbers), "more than 262144 values"},
		{"too much on the stack", archiveOf(t, strings.Repeat("]", 2<<20), numbers), "values at once"},
		{"too large", archiveOf(t, strings.Repeat("N0", largestPickle/2), numbers), "at most 16777216"},
		{"view beyond its storage", state(6, 0, []int64{2, 4}, []int64{4, 1}), "reach number 7 of a storage of 6"},
		{"offset beyond its storage", state(6, 6, []int64{1}, []int64{1}), "reach number 6 of a storage of 6"},
		{"strides beyond its storage", state(6, 0, []int64{2, 3}, []int64{4, 1}), "reach number 6 of a storage of 6"},
		{"negative stride", state(6, 5, []int64{6}, []int64{-1}), "none below 0"},
		{"negative offset", state(6, -1, []int64{6}, []int64{1}), "a tensor of a storage from -1 on"},
		{"negative shape", state(6, 0, []int64{-1}, []int64{1}), "dimension 0 is -1"},
		{"overflow", state(6, 0, []int64{1 << 30, 1 << 30}, []int64{1 << 62, 1 << 62}), "overflow"},
		{"many elements", state(6, 0, []int64{1 << 31, 1 << 31, 4}, []int64{0, 0, 0}), "dimension 0 is"},
		{"expanded bomb", state(6, 0, []int64{1 << 30, 1 << 30}, []int64{0, 0}), "refused as a bomb"},
		{"storage smaller than declared", state(7, 0, []int64{1}, []int64{1}), "24 bytes, expected 7 numbers of 4"},
		{"storage of all memory", state(1<<62, 0, []int64{1}, []int64{1}), "24 bytes, expected"},
		{"missing storage", pack(t, zip.Store, map[string]string{"data.pkl": "\x80\x02" + good + "."}), "entry data/0 is missing"},
		{"storage outside", pack(t, zip.Store, map[string]string{"data.pkl": "\x80\x02" + strings.ReplaceAll(good, unicode("0"), unicode("../version")) + "."}), "data/../version is missing"},
		{"no pickle", pack(t, zip.Store, map[string]string{"model.json": "{}"}), "without data.pkl"},
		{"byte order", pack(t, zip.Store, map[string]string{"data.pkl": "N.", "byteorder": "middle"}), `byte order "middle"`},
		{"zip bomb", pack(t, zip.Deflate, map[string]string{"data.pkl": "\x80\x02" + strings.ReplaceAll(good, integer(6), integer(20<<20)) + ".", "data/0": strings.Repeat("\x00", 80<<20)}), "refused as a bomb"},
		{"pickle bomb", pack(t, zip.Deflate, map[string]string{"data.pkl": strings.Repeat("N0", 9<<20)}), "at most 16777216"},
		{"cut off", archiveOf(t, good, numbers)[:200], "truncated"},
		{"ends early", archiveOf(t, "}(", numbers)[:0], "0 bytes"},
		{"text without its length", archiveOf(t, "X\xff\xff\xff\xff", numbers), "ends too early"},
		{"empty stack", archiveOf(t, "R", numbers), "too few values"},
		{"no mark", archiveOf(t, "t", numbers), "too few values"},
		{"memo", archiveOf(t, "h\x05", numbers), "memo entry 5 is not there"},
		{"protocol 0", pack(t, zip.Store, map[string]string{"data.pkl": "(dp0\n."}), "code 0x70"},
		{"conjugated", archiveOf(t, dictOf("a", strings.Replace(tensorOf(6, 0, nil, nil), "RtR", "R"+dictOf("conj", "\x88")+"tR", 1)), numbers), "conjugated"},
		{"name stands twice", archiveOf(t, dictOf("a", tensorOf(6, 0, nil, nil), "a", tensorOf(6, 0, nil, nil)), numbers), "stands twice"},
		{"dotted name stands twice", archiveOf(t, dictOf("a.b", tensorOf(6, 0, nil, nil), "a", dictOf("b", tensorOf(6, 0, nil, nil))), numbers), "stands twice"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			set, err := Open(writeFile(t, test.data))
			if err == nil {
				defer set.Close()
			}
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want == "":
				if a, err := set.Need("a", -1); err != nil && set.tensors["a"].Len() != 6 {
					t.Errorf("tensor %v: %v", a, err)
				}
			case err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n"):
				t.Errorf("error %v, expected one line with %q", err, test.want)
			}
		})
	}
	if _, err := Open("testdata/legacy.pth"); err == nil || !strings.Contains(err.Error(), "before PyTorch 1.6") {
		t.Errorf("legacy format: %v", err)
	}
}

func FuzzPickle(f *testing.F) {
	for _, file := range []string{"types", "views4", "checkpoint", "script"} {
		repack(f, "testdata/"+file+".pt", zip.Store, func(name string, data []byte) []byte {
			if name == "data.pkl" {
				f.Add(data)
			}
			return data
		}, nil)
	}
	storage := strings.Repeat("\x01\x02\x03\x04", 64)
	f.Fuzz(func(t *testing.T, pickle []byte) {
		entries := map[string]string{"data.pkl": string(pickle)}
		for i := range 8 {
			entries[fmt.Sprintf("data/%d", i)] = storage
		}
		useArchive(pack(t, zip.Store, entries))
	})
}

func FuzzArchive(f *testing.F) {
	for _, method := range []uint16{zip.Store, zip.Deflate} {
		f.Add(repack(f, "testdata/types.pt", method, keep, map[string]string{"byteorder": "big"}))
	}
	f.Fuzz(func(_ *testing.T, data []byte) { useArchive(data) })
}

// useArchive reads all numbers of an archive, if it is one.
func useArchive(data []byte) {
	tensors, err := parseArchive(data)
	if err != nil {
		return
	}
	for _, tensor := range tensors {
		if tensor.Len() < 1<<20 {
			tensor.Float32()
		}
	}
}
