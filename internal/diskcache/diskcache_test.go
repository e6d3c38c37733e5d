package diskcache

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestGetAndPut(t *testing.T) {
	t.Setenv("PACL_CACHE", t.TempDir())
	c := Cache{Name: "things", Total: 1 << 20, Entry: 100}
	key := Key("a", "b")
	if _, ok := c.Get(key); ok {
		t.Fatal("found what was never stored")
	}
	if err := c.Put(key, []byte("result")); err != nil {
		t.Fatal(err)
	}
	if data, ok := c.Get(key); !ok || string(data) != "result" {
		t.Errorf("found %q, %v", data, ok)
	}
	if _, ok := c.Get(Key("ab", "")); ok {
		t.Error("parts that join to the same text have the same key")
	}
	if err := c.Put(key, make([]byte, 101)); err != nil {
		t.Fatal(err)
	}
	if data, ok := c.Get(key); !ok || string(data) != "result" {
		t.Errorf("a result that is too large replaced %q (%v)", data, ok)
	}
	// What somebody else put there.
	path := filepath.Join(Dir(), "things", key)
	if err := os.WriteFile(path, make([]byte, 200), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Get(key); ok {
		t.Error("a file above the limit was read")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Get(key); ok {
		t.Error("a folder was read")
	}
}

func TestTheOldestGoFirst(t *testing.T) {
	t.Setenv("PACL_CACHE", t.TempDir())
	c := Cache{Name: "things", Total: 5 * blockBytes, Entry: blockBytes}
	start := time.Now().Add(-time.Hour)
	for i := range 8 {
		key := fmt.Sprint(i)
		if err := c.Put(key, bytes.Repeat([]byte{byte(i)}, blockBytes)); err != nil {
			t.Fatal(err)
		}
		when := start.Add(time.Duration(i) * time.Minute)
		if err := os.Chtimes(filepath.Join(Dir(), "things", key), when, when); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 8 {
		if _, ok := c.Get(fmt.Sprint(i)); ok != (i >= 3) {
			t.Errorf("result %d: found %v", i, ok)
		}
	}
}

func TestOff(t *testing.T) {
	t.Setenv("PACL_CACHE", "off")
	c := Cache{Name: "things", Total: 100, Entry: 100}
	if err := c.Put("key", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Get("key"); ok {
		t.Error("a cache that is off kept something")
	}
	t.Setenv("PACL_CACHE", "/dev/null")
	if err := c.Put("key", []byte("x")); err == nil {
		t.Error("no error where the folder cannot be made")
	}
	if _, ok := c.Get("key"); ok {
		t.Error("found something in no folder")
	}
}
