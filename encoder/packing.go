package encoder

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"

	"github.com/pacl/pacl/internal/diskcache"
	"github.com/pacl/pacl/internal/kernel"
	"github.com/pacl/pacl/weights"
)

// layerToPack is a layer that was checked but not packed yet: large tensors are packed when an encoder is first used.
type layerToPack struct {
	weight  *kernel.Weight
	out, in int
	source  string // tensors and rows that it is made of
	pack    func() error
}

// packedWeights keeps packed weights: mapping them takes a tenth of the time that packing takes, and processes share them.
var packedWeights = diskcache.Cache{Name: "packed", Total: 4 << 30, Entry: 3 << 30}

// packedWorth is from how many packed bytes on they are kept. Only tests change it.
var packedWorth int64 = 4 << 20

// pack packs what layers left for later, or finds it packed.
func (l *loader) pack() error {
	var total int64
	for _, layer := range l.later {
		total += int64(kernel.PackedBytes(layer.out, layer.in, l.precision))
	}
	key := ""
	if total >= packedWorth && diskcache.Dir() != "" {
		key = l.packedKey()
		if l.usePacked(key) {
			l.later = nil
			return nil
		}
	}
	for _, layer := range l.later {
		if err := layer.pack(); err != nil {
			return err
		}
	}
	if key != "" {
		_ = l.keepPacked(key, total) // without it the next one packs again
	}
	l.later = nil
	return nil
}

func (l *loader) packedKey() string {
	parts := []string{packedMagic, runtime.GOARCH, l.set.Hash(), l.precision.String()}
	for _, layer := range l.later {
		parts = append(parts, fmt.Sprint(layer.out, layer.in, layer.source))
	}
	return diskcache.Key(parts...)
}

// A file of packed weights begins with a block of packedHead bytes: packedMagic, the key, and the CRC-32C of all that
// follows, the packed layers one after the other.
const (
	packedMagic = "pacl packed weights 1\n"
	packedHead  = 4096
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func packedHeader(key string, sum uint32) []byte {
	head := make([]byte, packedHead)
	copy(head, packedMagic+key)
	binary.LittleEndian.PutUint32(head[packedHead-4:], sum)
	return head
}

// usePacked points the layers to their packed form on disk. A file that is not exactly what keepPacked wrote is passed
// over.
func (l *loader) usePacked(key string) bool {
	file, ok := packedWeights.Map(key)
	if !ok || len(file.Data) < packedHead {
		return false
	}
	rest := file.Data[packedHead:]
	if !bytes.Equal(file.Data[:packedHead], packedHeader(key, crc32.Checksum(rest, castagnoli))) {
		return false
	}
	for _, layer := range l.later {
		size := kernel.PackedBytes(layer.out, layer.in, l.precision)
		if size > len(rest) || layer.weight.UsePacked(layer.out, layer.in, l.precision, rest[:size], file) != nil {
			return false // those that were pointed there are packed after all
		}
		rest = rest[size:]
	}
	return len(rest) == 0
}

func (l *loader) keepPacked(key string, total int64) error {
	return packedWeights.Write(key, packedHead+total, func(w io.Writer) error {
		sum := uint32(0)
		for _, layer := range l.later {
			sum = crc32.Update(sum, castagnoli, layer.weight.Packed())
		}
		if _, err := w.Write(packedHeader(key, sum)); err != nil {
			return err
		}
		for _, layer := range l.later {
			if _, err := w.Write(layer.weight.Packed()); err != nil {
				return err
			}
		}
		return nil
	})
}

// packRows packs the parts, which stand below each other, a panel of rows at a time: there is no second copy of the whole.
func packRows(w *kernel.Weight, out, in int, p kernel.Precision, parts []part, tensors []weights.Tensor) error {
	const panel = 32
	*w = *kernel.NewWeight(out, in, p)
	buffers, failures := make([]kernel.Mat, kernel.Workers()), make([]error, kernel.Workers())
	kernel.Parallel((out+panel-1)/panel, func(worker, i int) {
		if buffers[worker].F == nil {
			buffers[worker] = kernel.NewMat(kernel.Float32, panel, in)
		}
		first, last := i*panel, min((i+1)*panel, out)
		rows := buffers[worker].Slice(0, last-first, 0, in)
		start := 0 // of a part, in the whole
		for k, p := range parts {
			from, to := max(first, start), min(last, start+p.rows)
			if from < to {
				dst := rows.F[(from-first)*in : (to-first)*in]
				if err := tensors[k].CopyRange(dst, (p.first+from-start)*in); err != nil {
					failures[worker] = err
				}
			}
			start += p.rows
		}
		w.SetRows(first, rows)
	})
	return errors.Join(failures...)
}
