package feature

import (
	"context"
	"encoding/json"
	"os"
	"testing"

	"github.com/pacl/pacl/weights"
)

// FuzzShard reads damaged shards: whatever is accepted can be used without a panic.
func FuzzShard(f *testing.F) {
	dir := f.TempDir()
	if _, err := Extract(context.Background(), options(dir, newList(f, 9))); err != nil {
		f.Fatal(err)
	}
	m, err := readManifest(dir)
	if err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(shardPath(dir, 0))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := weights.Parse("fuzz", data)
		if err != nil {
			return
		}
		s, err := checkShard(set, m)
		if err != nil {
			return
		}
		c := &Cache{manifest: m, shards: []*shard{s}}
		for i := range s.n {
			c.rows = append(c.rows, row{s.index[i], 0, int32(i)})
		}
		contents(c)
	})
}

// FuzzManifest reads damaged manifests.
func FuzzManifest(f *testing.F) {
	o := options("x", newList(f, 1))
	m, _, err := o.manifest()
	if err != nil {
		f.Fatal(err)
	}
	text, err := json.Marshal(m)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := parseManifest(text)
		if err != nil {
			return
		}
		if d := m.difference(m); d != "" {
			t.Errorf("a manifest differs from itself: %s", d)
		}
	})
}
