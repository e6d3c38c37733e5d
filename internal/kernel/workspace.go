package kernel

import (
	"math"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Workspace holds the scratch memory of products that run on one goroutine. It
// grows to the largest product it has seen. A Workspace must not be used by two
// goroutines at once; the zero value is ready.
type Workspace struct {
	packedA    []float32      // the left block, [rows, units] or [units, rows]
	panel      []float32      // one panel of the right operand, expanded, [k, panelWidth]
	sums       []float32      // partial sums, panels of [rows, panelWidth]
	convert    []float32      // rows on their way from one format to another
	scores     []float32      // attention: [queries, keys]
	weights    []float32      // attention: softmax numerators as left operand
	output     []float32      // attention: [queries, head], panels
	states     []softmaxState // attention: of each query
	constants  []float32      // ones and zeros of a norm without gamma or beta
	temporary  Weight         // the right operand of Gemm
	multiplier multiplier
	queries    queryBlock
	finisher   finisher
	bias       [panelWidth]float32 // the last panel's part of a bias, padded
	scale      [panelWidth]float32
}

// idle keeps workspaces between calls; unlike a sync.Pool it survives the
// garbage collector, so a warm engine does not allocate.
var idle struct {
	sync.Mutex
	list []*Workspace
}

// GetWorkspace returns a workspace that nobody else uses, to be handed back with
// Release.
func GetWorkspace() *Workspace {
	idle.Lock()
	defer idle.Unlock()
	if last := len(idle.list) - 1; last >= 0 {
		ws := idle.list[last]
		idle.list = idle.list[:last]
		return ws
	}
	return new(Workspace)
}

// Release hands the workspace back.
func (ws *Workspace) Release() {
	idle.Lock()
	idle.list = append(idle.list, ws)
	idle.Unlock()
}

// own are workspaces of workers: a core finds in its caches what it left in one.
var own [64]atomic.Pointer[Workspace]

// workspaceOf returns a workspace for one of Parallel's workers, to be handed back with giveBack.
func workspaceOf(worker int) *Workspace {
	if worker < len(own) {
		if ws := own[worker].Swap(nil); ws != nil {
			return ws
		}
	}
	return GetWorkspace()
}

func (ws *Workspace) giveBack(worker int) {
	if worker >= len(own) || !own[worker].CompareAndSwap(nil, ws) {
		ws.Release()
	}
}

// softmaxStates returns the states of rows that have seen nothing.
func (ws *Workspace) softmaxStates(rows int) []softmaxState {
	if len(ws.states) < rows {
		ws.states = make([]softmaxState, rows)
	}
	for r := range rows {
		ws.states[r] = softmaxState{top: float32(math.Inf(-1))}
	}
	return ws.states[:rows]
}

// grow returns *buffer with at least n numbers, at an address that is a multiple
// of 64; what it held is lost when it had to grow.
func grow(buffer *[]float32, n int) []float32 {
	if len(*buffer) < n {
		*buffer = alignedFloats(n + n/4)
	}
	return (*buffer)[:n]
}

func alignedFloats(n int) []float32 {
	raw := make([]float32, n+16)
	skip := 0
	for uintptr(unsafe.Pointer(&raw[skip]))%64 != 0 {
		skip++
	}
	return raw[skip : skip+n : skip+n]
}

// asBF16 views float32 memory as twice as many bfloat16 numbers.
func asBF16(buffer []float32) []uint16 {
	if len(buffer) == 0 {
		return nil
	}
	return unsafe.Slice((*uint16)(unsafe.Pointer(&buffer[0])), 2*len(buffer))
}
