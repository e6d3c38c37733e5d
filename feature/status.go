package feature

import (
	"fmt"
	"path/filepath"
)

// Status says how far a cache is that one run or several make.
type Status struct {
	Manifest Manifest     // of one of the parts
	Parts    []PartStatus // all that the cache consists of, by number
}

// PartStatus says how far a part is.
type PartStatus struct {
	Dir      string // "" where there is none
	Complete bool
	Shards   int // that are there
	Images   int // usable ones, known when complete
}

// Inspect looks at a cache, finished or not: a directory, a directory of parts, or several directories of parts. Parts that
// do not belong together are an error; missing ones are not.
func Inspect(dirs ...string) (Status, error) {
	var parts []string
	for _, dir := range dirs {
		found, err := partDirs(dir)
		if err != nil {
			return Status{}, err
		}
		parts = append(parts, found...)
	}
	return inspect(parts)
}

func inspect(dirs []string) (s Status, err error) {
	for _, dir := range dirs {
		m, err := readManifest(dir)
		if err != nil {
			return s, err
		}
		if s.Parts == nil {
			s.Manifest = m
			s.Parts = make([]PartStatus, m.Part.Count)
		}
		if d := m.difference(s.Manifest); d != "" {
			return s, fmt.Errorf("feature cache: %s cannot be used together with %s: %s", dir, dirs[0], d)
		}
		part := &s.Parts[m.Part.Index]
		if part.Dir != "" {
			return s, fmt.Errorf("feature cache: %s and %s are both part %d of %d", part.Dir, dir, m.Part.Index+1, m.Part.Count)
		}
		*part = PartStatus{Dir: dir, Complete: m.Complete, Images: m.Images}
		for exists(shardPath(dir, part.Shards)) {
			part.Shards++
		}
	}
	return s, nil
}

// Lost names the parts that are not there, and how they are made.
func (s Status) Lost() []string {
	var lost []string
	for i, p := range s.Parts {
		if p.Dir == "" {
			name := filepath.Base(partDir("", Part{i, len(s.Parts)}))
			lost = append(lost, fmt.Sprintf("%s (pacl features --shard %d/%d)", name, i, len(s.Parts)))
		}
	}
	return lost
}
