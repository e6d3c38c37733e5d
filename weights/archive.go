package weights

import "fmt"

func (s *Set) addArchive(path string, _ []byte) error {
	return fmt.Errorf("weights %s: PyTorch archives are not read, expected safetensors", path)
}
