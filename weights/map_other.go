//go:build !unix

package weights

import "os"

// mapping is a file's content, read where the system has no mapping that Go code reaches simply.
type mapping struct {
	data []byte
	name string
	info os.FileInfo // nil: nothing vouches for the content
}

func mapFile(path string) (*mapping, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return &mapping{data: data, name: path}, nil
}

func (m *mapping) close() error {
	m.data = nil
	return nil
}
