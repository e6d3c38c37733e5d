package weights

import (
	"bytes"
	"encoding/binary"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.safetensors")
	want := []Tensor{
		NewFloat32("b", []float32{1, -2, float32(math.Inf(1)), 4, 5, 6}, 2, 3),
		NewBF16("a", []float32{1, 1.00390625, -3}, 3),
		NewFloat32("scalar", []float32{7}),
		NewFloat32("empty", nil, 0, 4),
	}
	if err := Write(path, want, map[string]string{"format": "pt"}); err != nil {
		t.Fatal(err)
	}
	set, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	if diff := cmp.Diff([]string{"a", "b", "empty", "scalar"}, set.Names()); diff != "" {
		t.Error(diff)
	}
	for _, tensor := range want {
		got, err := set.Need(tensor.Name, tensor.Shape...)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tensor.Float32(), got.Float32()); diff != "" {
			t.Errorf("%s: %s", tensor.Name, diff)
		}
	}
	if set.Metadata()["format"] != "pt" {
		t.Error("metadata are lost")
	}
	if _, err := set.Need("b", 3, 2); err == nil || !strings.Contains(err.Error(), "[2 3], expected [3 2]") {
		t.Errorf("wrong shape: %v", err)
	}
	if _, err := set.Need("c"); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("missing tensor: %v", err)
	}
}

func TestHashIgnoresOrder(t *testing.T) {
	a, b := NewFloat32("a", []float32{1}, 1), NewFloat32("b", []float32{2}, 1)
	hash := func(tensors ...Tensor) string {
		var buffer bytes.Buffer
		if err := Encode(&buffer, tensors, nil); err != nil {
			t.Fatal(err)
		}
		set, err := Parse("test", buffer.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		return set.Hash()
	}
	if hash(a, b) != hash(b, a) {
		t.Error("the hash depends on the order of the tensors")
	}
	if hash(a, b) == hash(a) || hash(a) == hash(NewFloat32("a", []float32{1})) {
		t.Error("different tensors have the same hash")
	}
}

func TestHalf(t *testing.T) {
	for h := range 1 << 16 {
		sign := 1.0
		if h&0x8000 != 0 {
			sign = -1
		}
		exponent, fraction := h>>10&31, float64(h&0x3ff)
		want := sign * math.Ldexp(1+fraction/1024, exponent-15)
		switch {
		case exponent == 0:
			want = sign * math.Ldexp(fraction, -24)
		case exponent == 31 && fraction == 0:
			want = math.Inf(int(sign))
		case exponent == 31:
			want = math.NaN()
		}
		half := Tensor{DType: F16, Shape: []int{1}, Data: []byte{byte(h), byte(h >> 8)}}
		got := float64(half.Float32()[0])
		if got != want && !(math.IsNaN(got) && math.IsNaN(want)) || math.Signbit(got) != (sign < 0) && !math.IsNaN(got) {
			t.Fatalf("half %#04x is %v, expected %v", h, got, want)
		}
	}
}

// file makes a safetensors file of a header and some bytes.
func file(header string, bytes int) []byte {
	data := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(data, header...), make([]byte, bytes)...)
}

func TestParseRefuses(t *testing.T) {
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "0 bytes"},
		{"huge header", binary.LittleEndian.AppendUint64(nil, math.MaxUint64), "truncated"},
		{"text", []byte("this is no tensor file at all"), "truncated"},
		{"not JSON", file("{", 0), "header"},
		{"type", file(`{"a":{"dtype":"X9","shape":[1],"data_offsets":[0,4]}}`, 4), `unknown type "X9"`},
		{"beyond the end", file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 4), "outside the 4"},
		{"backwards", file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}`, 4), "outside"},
		{"shape", file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`, 4), "expected F32[2]"},
		{"negative", file(`{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}`, 4), "dimension 0 is -1"},
		{"overflow", file(`{"a":{"dtype":"F32","shape":[2147483647,2147483647,2147483647],"data_offsets":[0,4]}}`, 4), "too many"},
		{"twice", file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8), "tensor a is there twice"},
		{"a list", file(`[]`, 0), "begins with [, expected an object"},
		{"null", file(`null`, 0), "expected an object"},
		{"two objects", file(`{} {}`, 0), "behind its end"},
		{"cut", file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}`, 4), "EOF"},
		{"number for a name", file(`{1:{}}`, 0), "header"},
		{"text for a tensor", file(`{"a":"b"}`, 0), "tensor a: "},
		{"overlap", file(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, 8), "overlap"},
	}
	for _, test := range tests {
		if _, err := Parse("x", test.data); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, expected %q", test.name, err, test.want)
		}
	}
}

func TestParseAcceptsPaddedHeaders(t *testing.T) {
	set, err := Parse("x", file("  {\"__metadata__\" : {\"format\":\"pt\"},\n\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}   \n", 4))
	if err != nil {
		t.Fatal(err)
	}
	if names := set.Names(); len(names) != 1 || names[0] != "a" {
		t.Errorf("tensors %v", names)
	}
}

func TestBF16RoundsToNearest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Float32().Draw(t, "v")
		got := NewBF16("x", []float32{v}, 1).Float32()[0]
		if v != v {
			if got == got {
				t.Fatalf("NaN became %v", got)
			}
			return
		}
		bits := math.Float32bits(v)
		down, up := math.Float32frombits(bits&^0xffff), math.Float32frombits(bits&^0xffff+0x10000)
		if got != down && got != up {
			t.Fatalf("%v became %v, neither %v nor %v", v, got, down, up)
		}
		if math.IsInf(float64(up), 0) {
			return // beyond the largest bfloat16 the nearest value is decided as if the next one existed: infinity
		}
		if math.Abs(float64(got)-float64(v)) > math.Abs(float64(down)-float64(v)) {
			t.Fatalf("%v became %v, %v is nearer", v, got, down)
		}
	})
}

func FuzzSafetensors(f *testing.F) {
	f.Add(file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4))
	f.Add(file(`{"__metadata__":{"a":"b"}}`, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := Parse("fuzz", data)
		if err != nil {
			return
		}
		for _, name := range set.Names() {
			tensor, _ := set.Get(name)
			if tensor.Len() < 1<<20 {
				tensor.Float32()
			}
		}
		set.Hash()
	})
}
