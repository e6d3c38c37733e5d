package weights

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

const (
	// deepest bounds how far dicts and modules may lie in each other.
	deepest = 64
	// mostVisited bounds the values that are looked at for tensors: a dict may be held by many others.
	mostVisited = 1 << 18
	// longestName bounds a tensor's name.
	longestName = 4096
	// Bytes that are not views of the file (compressed, big-endian, transposed) are bounded by its size.
	expansion, expansionSlack = 16, 64 << 20
)

// legacyMagic begins a file that torch.save wrote before PyTorch 1.6: a pickle of its magic number.
const legacyMagic = "\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"

var errLegacy = errors.New("written by torch.save in the format before PyTorch 1.6, expected a zip archive: write it again with PyTorch, torch.save(torch.load(old), new)")

// archive is an opened PyTorch archive: a zip file of a pickle and the storages that it refers to.
type archive struct {
	data      []byte
	files     map[string]*zip.File // by their names behind the archive's own folder
	storages  map[string][]byte    // read already, by key
	bigEndian bool
	budget    int64 // bytes that may still be made, beside views of the file
}

// addArchive reads what torch.save writes, and TorchScript archives. Nothing in them is executed.
func (s *Set) addArchive(path string, data []byte) error {
	tensors, err := parseArchive(data)
	if err != nil {
		return fmt.Errorf("weights %s: %w", path, err)
	}
	return s.add(path, tensors)
}

func parseArchive(data []byte) ([]Tensor, error) {
	a, err := openArchive(data)
	if err != nil {
		return nil, err
	}
	pickle, err := a.read("data.pkl", largestPickle)
	if err != nil {
		return nil, err
	}
	root, err := unpickle(pickle)
	if err != nil {
		return nil, err
	}
	found := &collector{names: map[string]*view{}}
	if err := found.collect("", stateDict(root), 0); err != nil {
		return nil, err
	}
	if len(found.names) == 0 {
		return nil, fmt.Errorf("it holds %s without tensors, expected a state_dict or a TorchScript module", describe(root))
	}
	names := found.order
	prefix := commonWrapper(names)
	tensors := make([]Tensor, len(names))
	for i, name := range names {
		if tensors[i], err = a.tensor(strings.TrimPrefix(name, prefix), found.names[name]); err != nil {
			return nil, fmt.Errorf("tensor %s: %w", name, err)
		}
	}
	return tensors, nil
}

func openArchive(data []byte) (*archive, error) {
	reader, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("PyTorch archive: %w: truncated?", err)
	}
	a := &archive{
		data: data, files: map[string]*zip.File{}, storages: map[string][]byte{},
		budget: expansion*int64(len(data)) + expansionSlack,
	}
	folder, found := "", false
	for _, file := range reader.File {
		if dir, ok := strings.CutSuffix(file.Name, "data.pkl"); ok && strings.Count(dir, "/") <= 1 && (dir == "" || strings.HasSuffix(dir, "/")) {
			folder, found = dir, true
			break
		}
	}
	if !found {
		return nil, errors.New("zip archive without data.pkl, expected what torch.save writes")
	}
	for _, file := range reader.File {
		if name, ok := strings.CutPrefix(file.Name, folder); ok {
			if _, twice := a.files[name]; twice {
				return nil, fmt.Errorf("archive entry %q stands twice", file.Name)
			}
			a.files[name] = file
		}
	}
	if a.files["byteorder"] == nil {
		return a, nil
	}
	order, err := a.read("byteorder", 16)
	if err != nil {
		return nil, err
	}
	switch string(order) {
	case "little":
	case "big":
		a.bigEndian = true
	default:
		return nil, fmt.Errorf("byte order %q, expected little or big", order)
	}
	return a, nil
}

// read returns an entry's bytes: a view of the file where it is stored as it is.
func (a *archive) read(name string, largest int64) ([]byte, error) {
	file := a.files[name]
	if file == nil {
		return nil, fmt.Errorf("archive entry %s is missing", name)
	}
	if file.Flags&1 != 0 {
		return nil, fmt.Errorf("archive entry %s is encrypted", name)
	}
	size := file.UncompressedSize64
	if size > uint64(largest) {
		return nil, fmt.Errorf("archive entry %s has %d bytes, at most %d are read", name, size, largest)
	}
	if file.Method == zip.Store {
		start, err := file.DataOffset()
		if err != nil {
			return nil, fmt.Errorf("archive entry %s: %w", name, err)
		}
		if file.CompressedSize64 != size || start < 0 || uint64(start) > uint64(len(a.data)) || size > uint64(len(a.data))-uint64(start) {
			return nil, fmt.Errorf("archive entry %s: %d bytes from byte %d on lie outside the file's %d: truncated?", name, size, start, len(a.data))
		}
		return a.data[start : uint64(start)+size : uint64(start)+size], nil
	}
	if err := a.spend(int64(size)); err != nil {
		return nil, fmt.Errorf("archive entry %s: %w", name, err)
	}
	content, err := file.Open()
	if err != nil {
		return nil, fmt.Errorf("archive entry %s: %w", name, err)
	}
	defer content.Close()
	// The declared size was paid for; the reader behind it stops there and checks the entry's sum.
	result := make([]byte, size)
	if _, err := io.ReadFull(content, result); err != nil {
		return nil, fmt.Errorf("archive entry %s: %w", name, err)
	}
	if n, err := content.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		return nil, fmt.Errorf("archive entry %s: more than the %d bytes that it declares, or a wrong sum (%v)", name, size, err)
	}
	return result, nil
}

// spend accounts for bytes that are about to be made.
func (a *archive) spend(n int64) error {
	if n > a.budget {
		return fmt.Errorf("%d bytes to be made of a file of %d: refused as a bomb", n, len(a.data))
	}
	a.budget -= n
	return nil
}

// stateDict finds the state_dict in a checkpoint: the value itself, or what lies under one of the names that training
// programs use for it beside their optimiser's state and the like.
func stateDict(root any) any {
	d, ok := root.(*dict)
	if !ok {
		return root
	}
	for _, value := range d.values {
		if _, direct := value.(*view); direct {
			return root
		}
	}
	for _, name := range []string{"state_dict", "model_state_dict", "model", "teacher", "module"} {
		for i, key := range d.keys {
			if text, ok := key.(string); ok && text == name {
				if inner, ok := d.values[i].(*dict); ok {
					return inner
				}
			}
		}
	}
	return root
}

// commonWrapper is what DistributedDataParallel or torch.compile put before the name of every tensor.
func commonWrapper(names []string) string {
	prefix := ""
next:
	for range deepest {
		for _, wrapper := range []string{"module.", "_orig_mod."} {
			if !slices.ContainsFunc(names, func(name string) bool { return !strings.HasPrefix(name, prefix+wrapper) || name == prefix+wrapper }) {
				prefix += wrapper
				continue next
			}
		}
		break
	}
	return prefix
}

// collector gathers the tensors of nested dicts and modules under dotted names.
type collector struct {
	names   map[string]*view
	order   []string
	visited int
}

func (c *collector) collect(name string, value any, depth int) error {
	var entries *dict
	switch v := value.(type) {
	case *view:
		if _, twice := c.names[name]; twice {
			return fmt.Errorf("tensor %s stands twice", name)
		}
		c.names[name] = v
		c.order = append(c.order, name)
		return nil
	case *dict:
		entries = v
	case *object:
		entries = v.attributes
	}
	if entries == nil {
		return nil
	}
	if depth == deepest {
		return fmt.Errorf("dicts or modules lie more than %d deep in each other", deepest)
	}
	for i, key := range entries.keys {
		if c.visited++; c.visited > mostVisited {
			return fmt.Errorf("more than %d values", mostVisited)
		}
		text, ok := key.(string)
		if !ok {
			continue // numbers name an optimiser's parameters
		}
		if name != "" {
			text = name + "." + text
		}
		if len(text) > longestName {
			return fmt.Errorf("name of %d bytes, at most %d are read", len(text), longestName)
		}
		if err := c.collect(text, entries.values[i], depth+1); err != nil {
			return err
		}
	}
	return nil
}

// tensor makes a tensor of a view, which is checked against its storage.
func (a *archive) tensor(name string, v *view) (Tensor, error) {
	shape, count, err := checkShape(v.shape)
	if err != nil {
		return Tensor{}, err
	}
	t := Tensor{Name: name, DType: v.dtype, Shape: shape}
	raw, err := a.storage(v.storage)
	if err != nil {
		return Tensor{}, err
	}
	size := int64(v.dtype.Size())
	held := int64(len(raw)) / size
	last, contiguous, err := extent(v)
	if err != nil {
		return Tensor{}, err
	}
	if count == 0 {
		return t, nil
	}
	if last >= held {
		return Tensor{}, fmt.Errorf("shape %v, strides %v from number %d on reach number %d of a storage of %d",
			v.shape, v.stride, v.offset, last, held)
	}
	if contiguous && (!a.bigEndian || size == 1) {
		t.Data = raw[v.offset*size : (v.offset+count)*size : (v.offset+count)*size]
		return t, nil
	}
	if count > (1<<62)/size {
		return Tensor{}, fmt.Errorf("shape %v has too many elements", v.shape)
	}
	if err := a.spend(count * size); err != nil {
		return Tensor{}, err
	}
	t.Data = a.gather(raw, v, count)
	return t, nil
}

// storage returns the bytes of a storage in the byte order of the archive.
func (a *archive) storage(s storage) ([]byte, error) {
	raw, ok := a.storages[s.key]
	if !ok {
		var err error
		if raw, err = a.read("data/"+s.key, 1<<62); err != nil {
			return nil, err
		}
		a.storages[s.key] = raw
	}
	size := int64(1)
	if s.dtype != 0 {
		size = int64(s.dtype.Size())
	}
	if s.count > int64(len(raw)) || s.count*size > int64(len(raw)) {
		return nil, fmt.Errorf("storage %s has %d bytes, expected %d numbers of %d", s.key, len(raw), s.count, size)
	}
	return raw[:s.count*size], nil
}

// extent returns the last number of its storage that a view shows, and whether it shows the numbers up to there in a row.
func extent(v *view) (last int64, contiguous bool, err error) {
	last, contiguous = v.offset, true
	row := int64(1)
	for i := len(v.shape) - 1; i >= 0; i-- {
		d, stride := v.shape[i], v.stride[i]
		if stride < 0 {
			return 0, false, fmt.Errorf("strides %v, expected none below 0", v.stride)
		}
		if d <= 1 {
			continue
		}
		// checkShape bounds d by 2^31.
		if stride > (1<<62-last)/(d-1) {
			return 0, false, fmt.Errorf("shape %v with strides %v overflows", v.shape, v.stride)
		}
		last += stride * (d - 1)
		contiguous = contiguous && stride == row
		row *= d
	}
	return last, contiguous, nil
}

// gather copies the numbers of a view, which was checked, in the order of its dimensions and little-endian.
func (a *archive) gather(raw []byte, v *view, count int64) []byte {
	size := int64(v.dtype.Size())
	result := make([]byte, 0, count*size)
	index := make([]int64, len(v.shape))
	place := v.offset
	for range count {
		number := raw[place*size : (place+1)*size]
		result = append(result, number...)
		if a.bigEndian {
			slices.Reverse(result[int64(len(result))-size:])
		}
		for i := len(index) - 1; i >= 0; i-- {
			index[i]++
			place += v.stride[i]
			if index[i] < v.shape[i] {
				break
			}
			place -= v.stride[i] * v.shape[i]
			index[i] = 0
		}
	}
	return result
}
