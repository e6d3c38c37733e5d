package weights

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

const (
	// largestPickle bounds a pickle: a tensor takes about a hundred bytes of it, the rest of an archive is storage.
	largestPickle = 16 << 20
	// largestStack bounds the values that a pickle holds at once on its stack and in its memo.
	largestStack = 1 << 20
	// mostTensors bounds the tensors that a pickle makes, kept or not.
	mostTensors = 1 << 18
)

// The values that a pickle is read as, besides nil, bool, int64, float64, string and []byte. None of them has behaviour.
type (
	tuple []any
	list  struct{ items []any }
	// dict keeps its entries in their order, as OrderedDict does. Keys are not compared.
	dict struct{ keys, values []any }
	// object is an instance of a TorchScript class; only its attributes count.
	object struct{ attributes *dict }
	// global is a name that a pickle may ask for: see allowedGlobal.
	global struct{ module, name string }
	// storage is a reference to an entry of the archive.
	storage struct {
		key   string
		dtype DType // 0 for an untyped one
		count int64 // numbers, bytes of an untyped one
	}
	// view is a tensor: some numbers of a storage.
	view struct {
		storage       storage
		dtype         DType
		offset        int64   // numbers
		shape, stride []int64 // numbers
	}
	// mark stands on the stack where a group of values begins.
	mark struct{}
)

// storageTypes are the classes of typed storages and, as torch.dtype objects, the types themselves.
var storageTypes = map[string]DType{
	"FloatStorage": F32, "HalfStorage": F16, "BFloat16Storage": BF16, "DoubleStorage": F64, "LongStorage": I64,
	"IntStorage": I32, "ShortStorage": I16, "CharStorage": I8, "ByteStorage": U8, "BoolStorage": Bool,
}

var torchTypes = map[string]DType{
	"float32": F32, "float16": F16, "bfloat16": BF16, "float64": F64, "int64": I64,
	"int32": I32, "int16": I16, "int8": I8, "uint8": U8, "bool": Bool,
}

// allowedGlobal says whether tensors need a name. Everything else is refused before anything is made of it.
func allowedGlobal(g global) bool {
	switch g.module {
	case "collections":
		return g.name == "OrderedDict"
	case "torch._utils":
		switch g.name {
		case "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter", "_rebuild_parameter_with_state":
			return true
		}
	case "torch":
		_, isStorage := storageTypes[g.name]
		_, isType := torchTypes[g.name]
		return isStorage || isType || g.name == "Size" || g.name == "device"
	case "torch.storage":
		return g.name == "UntypedStorage" || g.name == "TypedStorage"
	case "torch.jit._pickle":
		switch g.name {
		case "build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag":
			return true
		}
	}
	// TorchScript's classes: an instance is read as its attributes, the archive's code is never looked at.
	return g.module == "__torch__" || strings.HasPrefix(g.module, "__torch__.")
}

// unpickler reads the part of pickle's language that data need. It is no interpreter: the names a pickle may ask for are
// an allow-list, and each of them is data here.
type unpickler struct {
	data  []byte
	at    int
	stack []any
	marks []int // places of marks on the stack
	memo  map[uint32]any
	made  int // calls, most of which make a tensor
}

// unpickle returns the value that a pickle holds.
func unpickle(data []byte) (any, error) {
	if len(data) > largestPickle {
		return nil, fmt.Errorf("pickle of %d bytes, at most %d are read", len(data), largestPickle)
	}
	u := &unpickler{data: data, memo: map[uint32]any{}}
	for {
		start := u.at
		code, err := u.byte()
		if err != nil {
			return nil, err
		}
		if code == '.' {
			return u.pop()
		}
		if err := u.step(code); err != nil {
			return nil, fmt.Errorf("pickle, byte %d: %w", start, err)
		}
		if len(u.stack) > largestStack || len(u.memo) > largestStack {
			return nil, fmt.Errorf("pickle, byte %d: more than %d values at once", start, largestStack)
		}
	}
}

var (
	errPickleEnd   = errors.New("it ends too early")
	errPickleStack = errors.New("too few values on the stack")
)

func (u *unpickler) take(n uint64) ([]byte, error) {
	if n > uint64(len(u.data)-u.at) {
		return nil, errPickleEnd
	}
	b := u.data[u.at : u.at+int(n)]
	u.at += int(n)
	return b, nil
}

func (u *unpickler) byte() (byte, error) {
	b, err := u.take(1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

// number reads a little-endian number of n bytes without sign.
func (u *unpickler) number(n uint64) (uint64, error) {
	b, err := u.take(n)
	var v uint64
	for i := len(b) - 1; i >= 0; i-- {
		v = v<<8 | uint64(b[i])
	}
	return v, err
}

// counted reads bytes behind their number, which takes n bytes itself.
func (u *unpickler) counted(n uint64) ([]byte, error) {
	length, err := u.number(n)
	if err != nil {
		return nil, err
	}
	return u.take(length)
}

func (u *unpickler) line() (string, error) {
	end := bytes.IndexByte(u.data[u.at:], '\n')
	if end < 0 {
		return "", errPickleEnd
	}
	b, err := u.take(uint64(end) + 1)
	return string(b[:max(len(b)-1, 0)]), err
}

func (u *unpickler) push(v any) { u.stack = append(u.stack, v) }

// floor is how far values may be taken off the stack: to the last mark.
func (u *unpickler) floor() int {
	if len(u.marks) == 0 {
		return 0
	}
	return u.marks[len(u.marks)-1] + 1
}

func (u *unpickler) pop() (any, error) {
	if len(u.stack) <= u.floor() {
		return nil, errPickleStack
	}
	v := u.stack[len(u.stack)-1]
	u.stack = u.stack[:len(u.stack)-1]
	return v, nil
}

func (u *unpickler) top() (any, error) {
	if len(u.stack) <= u.floor() {
		return nil, errPickleStack
	}
	return u.stack[len(u.stack)-1], nil
}

// popMark takes the values behind the last mark, and the mark.
func (u *unpickler) popMark() ([]any, error) {
	if len(u.marks) == 0 {
		return nil, errPickleStack
	}
	place := u.marks[len(u.marks)-1]
	u.marks = u.marks[:len(u.marks)-1]
	items := append([]any(nil), u.stack[place+1:]...)
	u.stack = u.stack[:place]
	return items, nil
}

// popTuple takes n values.
func (u *unpickler) popTuple(n int) (tuple, error) {
	if len(u.stack)-n < u.floor() {
		return nil, errPickleStack
	}
	items := append(tuple(nil), u.stack[len(u.stack)-n:]...)
	u.stack = u.stack[:len(u.stack)-n]
	return items, nil
}

// step does what one code asks for. The codes are those that Python's and PyTorch's writers use for protocols 2 to 5.
func (u *unpickler) step(code byte) error {
	switch code {
	case 0x80: // PROTO
		version, err := u.byte()
		if err == nil && (version < 2 || version > 5) {
			err = fmt.Errorf("protocol %d, expected 2 to 5", version)
		}
		return err
	case 0x95: // FRAME
		_, err := u.take(8)
		return err
	case 'N', 0x88, 0x89, 'J', 'K', 'M', 0x8a, 'G': // NONE, NEWTRUE, NEWFALSE, BININT, BININT1, BININT2, LONG1, BINFLOAT
		return u.scalar(code)
	case 'X', 0x8c, 0x8d, 'T', 'U', 'B', 'C', 0x8e: // BINUNICODE and its lengths, BINSTRING, BINBYTES
		return u.text(code)
	case '}', ']', ')', '(', 't', 0x85, 0x86, 0x87, 'l', 'd': // containers
		return u.container(code)
	case 'a', 'e', 's', 'u', 'b': // APPEND, APPENDS, SETITEM, SETITEMS, BUILD
		return u.fill(code)
	case 'q', 'r', 0x94, 'h', 'j': // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
		return u.remember(code)
	case 'c', 0x93, 'R', 0x81, 'Q': // GLOBAL, STACK_GLOBAL, REDUCE, NEWOBJ, BINPERSID
		return u.make(code)
	case '0': // POP
		if _, err := u.pop(); err == nil {
			return nil
		}
		_, err := u.popMark()
		return err
	case '1': // POP_MARK
		_, err := u.popMark()
		return err
	}
	return fmt.Errorf("code %#02x is not among those that tensors need", code)
}

func (u *unpickler) scalar(code byte) error {
	switch code {
	case 'N':
		u.push(nil)
	case 0x88, 0x89:
		u.push(code == 0x88)
	case 'J':
		v, err := u.number(4)
		u.push(int64(int32(v)))
		return err
	case 'K':
		v, err := u.number(1)
		u.push(int64(v))
		return err
	case 'M':
		v, err := u.number(2)
		u.push(int64(v))
		return err
	case 0x8a:
		b, err := u.counted(1)
		if err != nil {
			return err
		}
		if len(b) > 8 {
			return fmt.Errorf("whole number of %d bytes, expected at most 8", len(b))
		}
		var v uint64
		if n := len(b); n > 0 && b[n-1]&0x80 != 0 {
			v = math.MaxUint64 << (8 * n) // the sign of a two's complement; nothing is left of it at 8 bytes
		}
		for i, x := range b {
			v |= uint64(x) << (8 * i)
		}
		u.push(int64(v))
	case 'G':
		b, err := u.take(8)
		if err != nil {
			return err
		}
		u.push(math.Float64frombits(binary.BigEndian.Uint64(b)))
	}
	return nil
}

func (u *unpickler) text(code byte) error {
	width := uint64(4) // bytes of the length
	switch code {
	case 0x8c, 'U', 'C':
		width = 1
	case 0x8d, 0x8e:
		width = 8
	}
	b, err := u.counted(width)
	if err != nil {
		return err
	}
	switch code {
	case 'B', 'C', 0x8e:
		u.push(b)
	default:
		if !utf8.Valid(b) {
			return errors.New("text that is not UTF-8")
		}
		u.push(string(b))
	}
	return nil
}

func (u *unpickler) container(code byte) error {
	switch code {
	case '}':
		u.push(new(dict))
	case ']':
		u.push(new(list))
	case ')':
		u.push(tuple(nil))
	case '(':
		u.marks = append(u.marks, len(u.stack))
		u.push(mark{})
	case 0x85, 0x86, 0x87:
		t, err := u.popTuple(int(code) - 0x84)
		u.push(t)
		return err
	default:
		items, err := u.popMark()
		if err != nil {
			return err
		}
		switch code {
		case 't':
			u.push(tuple(items))
		case 'l':
			u.push(&list{items})
		case 'd':
			d := new(dict)
			u.push(d)
			return d.add(items)
		}
	}
	return nil
}

// add appends keys and values that stand in turn.
func (d *dict) add(items []any) error {
	if len(items)%2 != 0 {
		return errors.New("a key without a value")
	}
	for i := 0; i < len(items); i += 2 {
		d.keys, d.values = append(d.keys, items[i]), append(d.values, items[i+1])
	}
	return nil
}

// fill puts values into the container or object below them.
func (u *unpickler) fill(code byte) error {
	var items []any
	var err error
	switch code {
	case 'e', 'u':
		items, err = u.popMark()
	case 's':
		items, err = u.popTuple(2)
	default:
		items, err = u.popTuple(1)
	}
	if err != nil {
		return err
	}
	target, err := u.top()
	if err != nil {
		return err
	}
	switch t := target.(type) {
	case *list:
		if code == 'a' || code == 'e' {
			t.items = append(t.items, items...)
			return nil
		}
	case *dict:
		switch code {
		case 's', 'u':
			return t.add(items)
		case 'b': // attributes of an OrderedDict, as _metadata of a state_dict: no tensors
			return nil
		}
	case *object:
		attributes, ok := items[0].(*dict)
		if code == 'b' && ok && t.attributes == nil {
			t.attributes = attributes
			return nil
		}
	}
	return fmt.Errorf("code %q on %s", code, describe(target))
}

func (u *unpickler) remember(code byte) error {
	var key uint64
	var err error
	switch code {
	case 'q', 'h':
		key, err = u.number(1)
	case 'r', 'j':
		key, err = u.number(4)
	default:
		key = uint64(len(u.memo))
	}
	if err != nil {
		return err
	}
	if code == 'h' || code == 'j' {
		v, ok := u.memo[uint32(key)]
		if !ok {
			return fmt.Errorf("memo entry %d is not there", key)
		}
		u.push(v)
		return nil
	}
	v, err := u.top()
	u.memo[uint32(key)] = v
	return err
}

// make does what names stand for.
func (u *unpickler) make(code byte) error {
	switch code {
	case 'c':
		module, err := u.line()
		if err != nil {
			return err
		}
		name, err := u.line()
		if err != nil {
			return err
		}
		return u.pushGlobal(global{module, name})
	case 0x93:
		t, err := u.popTuple(2)
		if err != nil {
			return err
		}
		module, ok1 := t[0].(string)
		name, ok2 := t[1].(string)
		if !ok1 || !ok2 {
			return errors.New("a global whose name is no text")
		}
		return u.pushGlobal(global{module, name})
	case 'Q':
		id, err := u.pop()
		if err != nil {
			return err
		}
		s, err := persistent(id)
		u.push(s)
		return err
	}
	t, err := u.popTuple(2)
	if err != nil {
		return err
	}
	g, ok := t[0].(global)
	arguments, isTuple := t[1].(tuple)
	if !ok || !isTuple {
		return fmt.Errorf("a call of %s with %s", describe(t[0]), describe(t[1]))
	}
	if u.made++; u.made > mostTensors {
		return fmt.Errorf("more than %d tensors", mostTensors)
	}
	v, err := call(g, arguments)
	if err != nil {
		return fmt.Errorf("%s.%s: %w", g.module, g.name, err)
	}
	u.push(v)
	return nil
}

func (u *unpickler) pushGlobal(g global) error {
	if !allowedGlobal(g) {
		return fmt.Errorf("it asks for %q, which no tensor needs: refused, nothing of it was run", g.module+"."+g.name)
	}
	u.push(g)
	return nil
}

// persistent reads PyTorch's reference to a storage: ("storage", type, key, device, count).
func persistent(id any) (storage, error) {
	t, ok := id.(tuple)
	if !ok || len(t) != 5 {
		return storage{}, fmt.Errorf("%s in place of a storage", describe(id))
	}
	if kind, ok := t[0].(string); !ok || kind != "storage" {
		return storage{}, fmt.Errorf("%s in place of a storage", describe(t[0]))
	}
	class, ok1 := t[1].(global)
	key, ok2 := t[2].(string)
	count, ok3 := t[4].(int64)
	dtype, typed := storageTypes[class.name]
	untyped := class == global{"torch.storage", "UntypedStorage"}
	if !ok1 || !ok2 || !ok3 || !(typed && class.module == "torch" || untyped) || count < 0 {
		return storage{}, fmt.Errorf("storage of class %s, key %s, size %s", describe(t[1]), describe(t[2]), describe(t[4]))
	}
	return storage{key, dtype, count}, nil
}

// call makes of a name and its arguments the data that PyTorch would make of them.
func call(g global, arguments tuple) (any, error) {
	if g.module == "__torch__" || strings.HasPrefix(g.module, "__torch__.") {
		if len(arguments) != 0 {
			return nil, fmt.Errorf("%d arguments, expected none", len(arguments))
		}
		return new(object), nil
	}
	switch g.name {
	case "OrderedDict":
		return orderedDict(arguments)
	case "_rebuild_tensor_v2", "_rebuild_tensor_v3":
		return rebuildTensor(g.name, arguments)
	case "_rebuild_parameter", "_rebuild_parameter_with_state", "restore_type_tag",
		"build_intlist", "build_doublelist", "build_boollist", "build_tensorlist":
		if len(arguments) == 0 {
			return nil, errors.New("no arguments")
		}
		return arguments[0], nil
	case "Size", "device":
		return arguments, nil
	}
	return nil, errors.New("it is no function")
}

// orderedDict makes an OrderedDict: empty, or of a list of pairs.
func orderedDict(arguments tuple) (any, error) {
	d := new(dict)
	if len(arguments) == 0 {
		return d, nil
	}
	pairs, ok := arguments[0].(*list)
	if !ok || len(arguments) > 1 {
		return nil, fmt.Errorf("%d arguments, the first %s, expected none or a list", len(arguments), describe(arguments[0]))
	}
	for _, item := range pairs.items {
		var pair []any
		switch p := item.(type) {
		case tuple:
			pair = p
		case *list:
			pair = p.items
		}
		if len(pair) != 2 {
			return nil, fmt.Errorf("%s in place of a key and a value", describe(item))
		}
		d.keys, d.values = append(d.keys, pair[0]), append(d.values, pair[1])
	}
	return d, nil
}

// rebuildTensor reads (storage, offset, shape, strides, ...) and, in the third version, the type behind two more.
func rebuildTensor(name string, arguments tuple) (any, error) {
	if len(arguments) < 4 {
		return nil, fmt.Errorf("%d arguments, expected at least 4", len(arguments))
	}
	s, ok1 := arguments[0].(storage)
	offset, ok2 := arguments[1].(int64)
	shape, ok3 := integers(arguments[2])
	stride, ok4 := integers(arguments[3])
	if !ok1 || !ok2 || !ok3 || !ok4 || len(shape) != len(stride) || offset < 0 {
		return nil, fmt.Errorf("a tensor of %s from %s on, shape %s, strides %s",
			describe(arguments[0]), describe(arguments[1]), describe(arguments[2]), describe(arguments[3]))
	}
	v := &view{storage: s, dtype: s.dtype, offset: offset, shape: shape, stride: stride}
	if name == "_rebuild_tensor_v3" {
		var class global
		if len(arguments) >= 7 {
			class, _ = arguments[6].(global)
		}
		dtype, ok := torchTypes[class.name]
		if !ok || class.module != "torch" {
			return nil, errors.New("a tensor without a known type")
		}
		v.dtype = dtype
	}
	if v.dtype == 0 {
		return nil, errors.New("a tensor without a type")
	}
	// Conjugated and negated views say so behind the hooks; their numbers are not what the storage holds.
	if name == "_rebuild_tensor_v2" && len(arguments) > 6 {
		if m, ok := arguments[6].(*dict); !ok && arguments[6] != nil || ok && len(m.keys) > 0 {
			return nil, errors.New("a conjugated or negated tensor")
		}
	}
	return v, nil
}

func integers(v any) ([]int64, bool) {
	t, ok := v.(tuple)
	if !ok || len(t) > maxDimensions {
		return nil, false
	}
	result := make([]int64, len(t))
	for i, item := range t {
		if result[i], ok = item.(int64); !ok {
			return nil, false
		}
	}
	return result, true
}

// describe names a value in a message, without going into it.
func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case global:
		return v.module + "." + v.name
	case tuple:
		return fmt.Sprintf("a tuple of %d", len(v))
	case *list:
		return fmt.Sprintf("a list of %d", len(v.items))
	case *dict:
		return fmt.Sprintf("a dict of %d", len(v.keys))
	case *object:
		return "an object"
	case *view:
		return "a tensor"
	case storage:
		return "a storage"
	case mark:
		return "a mark"
	case string:
		return fmt.Sprintf("%.40q", v)
	case []byte:
		return fmt.Sprintf("%d bytes", len(v))
	}
	return fmt.Sprint(v)
}
