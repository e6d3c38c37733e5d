//go:build unix

package diskcache

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
)

// TestMap stores results of sizes around those at which memory is laid out in another way, and reads them while others of the
// same size come and go.
func TestMap(t *testing.T) {
	t.Setenv("PACL_CACHE", t.TempDir())
	c := Cache{Name: "things", Total: 64 << 20, Entry: 16 << 20}
	random := rand.NewChaCha8([32]byte{1})
	for _, size := range []int{1, 100, 4095, 2<<20 - 1, 2 << 20, 2<<20 + 1, 5<<20 + 3} {
		want := make([]byte, size)
		random.Read(want)
		key := Key(fmt.Sprint(size))
		if err := c.Put(key, want); err != nil {
			t.Fatal(err)
		}
		first, ok := c.Map(key)
		if !ok {
			t.Fatalf("%d bytes: not found", size)
		}
		for range 3 {
			again, ok := c.Map(key)
			if !ok || !bytes.Equal(again.Data, want) {
				t.Errorf("%d bytes: another content, or none", size)
			}
			runtime.GC() // gives back what nobody holds
		}
		if !bytes.Equal(first.Data, want) {
			t.Errorf("%d bytes: another content after others were given back", size)
		}
		runtime.KeepAlive(first)
	}
	if _, ok := c.Map(Key("nothing")); ok {
		t.Error("found what was never stored")
	}
}

// BenchmarkMap looks at each page of a result of the size of a CLIP B/16's packed weights, mapped and read.
func BenchmarkMap(b *testing.B) {
	b.Setenv("PACL_CACHE", b.TempDir())
	const size = 170 << 20
	c := Cache{Name: "things", Total: size, Entry: size, Synced: true}
	if err := c.Put("weights", make([]byte, size)); err != nil {
		b.Fatal(err)
	}
	touch := func(b *testing.B, data []byte) {
		sum := byte(0)
		for at := 0; at < len(data); at += 4096 {
			sum |= data[at]
		}
		if sum != 0 || len(data) != size {
			b.Fatal("other content")
		}
	}
	b.Run("mapped", func(b *testing.B) {
		for b.Loop() {
			mapped, ok := c.Map("weights")
			if !ok {
				b.Fatal("not found")
			}
			touch(b, mapped.Data)
		}
	})
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			data, ok := c.Get("weights")
			if !ok {
				b.Fatal("not found")
			}
			touch(b, data)
		}
	})
}
