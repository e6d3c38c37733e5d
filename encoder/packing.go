package encoder

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
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
var packedWeights = diskcache.Cache{Name: "packed", Total: 4 << 30, Entry: 3 << 30, Synced: true}

// packedWorth is from how many packed bytes on they are kept. Only tests change it.
var packedWorth int64 = 4 << 20

// pack packs and reads what was left for later, or finds it packed.
func (l *loader) pack() error {
	defer func() { l.later, l.vectors = nil, nil }()
	var total int64
	for _, layer := range l.later {
		total += int64(kernel.PackedBytes(layer.out, layer.in, l.precision))
	}
	for _, vector := range l.vectors {
		total += int64(4 * vector.size)
	}
	key := ""
	if total >= packedWorth && diskcache.Dir() != "" {
		key = l.packedKey()
		if l.usePacked(key) {
			return nil
		}
	}
	for _, vector := range l.vectors {
		vector.numbers = make([]float32, vector.size)
		if err := vector.read(vector.numbers); err != nil {
			return err
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
	return nil
}

func (l *loader) packedKey() string {
	parts := []string{packedMagic, runtime.GOARCH, l.set.Hash(), l.precision.String()}
	for _, layer := range l.later {
		parts = append(parts, fmt.Sprint(layer.out, layer.in, layer.source))
	}
	for _, vector := range l.vectors {
		parts = append(parts, fmt.Sprint(vector.size, " ", vector.source))
	}
	return diskcache.Key(parts...)
}

// A file of packed weights begins with a block of packedHead bytes, packedMagic and the key; the packed layers follow, one after the
// other, and the vectors in float32, all in the byte order of the machine. There is no sum to check: to make it took longer than all
// else that is done to open an encoder, and nobody sums the weights file itself at every start.
const (
	packedMagic = "pacl packed weights 3\n"
	packedHead  = 4096
)

func packedHeader(key string) []byte {
	head := make([]byte, packedHead)
	copy(head, packedMagic+key)
	return head
}

// usePacked points the layers and vectors to their packed form on disk. A file of another length or beginning than keepPacked wrote is
// passed over.
func (l *loader) usePacked(key string) bool {
	file, ok := packedWeights.Map(key)
	if !ok || len(file.Data) < packedHead || !bytes.Equal(file.Data[:packedHead], packedHeader(key)) {
		return false
	}
	rest := file.Data[packedHead:]
	for _, layer := range l.later {
		size := kernel.PackedBytes(layer.out, layer.in, l.precision)
		if size > len(rest) || layer.weight.UsePacked(layer.out, layer.in, l.precision, rest[:size], file) != nil {
			return false // those that were pointed there are packed after all
		}
		rest = rest[size:]
	}
	for _, vector := range l.vectors {
		size := 4 * vector.size
		if size > len(rest) {
			return false
		}
		vector.numbers, vector.backing, rest = kernel.FromBytes(rest[:size]), file, rest[size:]
	}
	return len(rest) == 0
}

func (l *loader) keepPacked(key string, total int64) error {
	parts := []io.Reader{bytes.NewReader(packedHeader(key))}
	for _, layer := range l.later {
		parts = append(parts, bytes.NewReader(layer.weight.Packed()))
	}
	for _, vector := range l.vectors {
		parts = append(parts, bytes.NewReader(kernel.AsBytes(vector.numbers)))
	}
	return packedWeights.Write(key, packedHead+total, io.MultiReader(parts...))
}

// checkNumbers looks for a NaN or an infinity in what an encoder says of pictures or texts, rows of width numbers: arithmetic makes
// none of weights as they were trained.
func (i Info) checkNumbers(kind string, rows []float32, width int) error {
	for at := 0; at < len(rows); at += width {
		row := rows[at : at+width]
		if d := kernel.Dot(row, row); d-d == 0 {
			continue
		}
		for _, v := range row {
			if v-v == 0 {
				continue
			}
			kept := ""
			if dir := diskcache.Dir(); dir != "" {
				kept = fmt.Sprintf(", or their packed form in %s, which can be removed", filepath.Join(dir, packedWeights.Name))
			}
			return fmt.Errorf("%s encoder %s: what it makes of its input is no number: its weights are damaged%s", kind, i.Dir, kept)
		}
	}
	return nil
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
