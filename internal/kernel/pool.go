package kernel

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// task is one call of Parallel: indices 0..n-1 in runs, each of which is handed out by counting.
type task struct {
	n           int64
	f           func(worker, i int)
	inWorkspace func(ws *Workspace, i int) // in place of f
	runs        []run
	done        atomic.Int64 // how many indices are finished
	joined      atomic.Int64 // workers that have taken a number, the caller is 0
	holders     atomic.Int64 // who may still look at the task; the last one recycles it
	finished    chan struct{}
	failure     atomic.Pointer[any] // what f panicked with first
}

// run is a piece of a task's indices, alone in its cache line.
type run struct {
	next atomic.Int64 // the next index to hand out
	end  int64
	_    [48]byte
}

// workers are the goroutines that wait for tasks; they start once and stay.
var workers struct {
	sync.Mutex
	count atomic.Int64
	queue chan *task
	free  []*task
}

const queueLength = 1024

func init() { workers.queue = make(chan *task, queueLength) }

// Workers is an upper bound of the worker numbers that Parallel hands out now.
func Workers() int { return runtime.GOMAXPROCS(0) }

// Parallel calls f(worker, i) for every i in 0..n-1, on the calling goroutine and
// on persistent workers, and returns when all calls have returned. Calls that run
// at the same time have different worker numbers, less than Workers(). The order
// is not fixed: f(i) must not depend on it. Parallel may be called within f. A
// panic of f is passed on to the caller.
//
// The calling goroutine begins with the first indices, each worker with those of a
// run of its own, the same in every call, and helps others when it is done: what
// one call leaves in a core's caches the next one finds there, if both put the
// same rows in the same places.
func Parallel(n int, f func(worker, i int)) { parallel(n, f, nil) }

// inWorkspaces is Parallel for what needs a workspace: each worker takes one for the whole call.
func inWorkspaces(n int, f func(ws *Workspace, i int)) { parallel(n, nil, f) }

func parallel(n int, f func(worker, i int), inWorkspace func(ws *Workspace, i int)) {
	if n <= 0 {
		return
	}
	helpers := min(runtime.GOMAXPROCS(0), n) - 1
	if helpers <= 0 {
		serial(n, f, inWorkspace)
		return
	}
	t := newTask(n, f, inWorkspace)
	startWorkers(helpers)
	for i := 0; i < helpers; i++ {
		t.holders.Add(1)
		select {
		case workers.queue <- t:
		default: // everybody is busy: the caller does the work
			t.holders.Add(-1)
		}
	}
	if !t.work(0, 0) {
		lookOut(t.finished)
		<-t.finished
	}
	failure := t.failure.Load()
	t.release()
	if failure != nil {
		panic(*failure)
	}
}

// serial makes all calls on the calling goroutine, in their order.
func serial(n int, f func(worker, i int), inWorkspace func(ws *Workspace, i int)) {
	if inWorkspace == nil {
		for i := range n {
			f(0, i)
		}
		return
	}
	ws := GetWorkspace()
	for i := range n {
		inWorkspace(ws, i)
	}
	ws.Release()
}

func newTask(n int, f func(worker, i int), inWorkspace func(ws *Workspace, i int)) *task {
	workers.Lock()
	var t *task
	if last := len(workers.free) - 1; last >= 0 {
		t, workers.free = workers.free[last], workers.free[:last]
	}
	workers.Unlock()
	if t == nil {
		t = &task{finished: make(chan struct{}, 1)}
	}
	t.n, t.f, t.inWorkspace = int64(n), f, inWorkspace
	runs := min(n, Workers())
	if cap(t.runs) < runs {
		t.runs = make([]run, runs)
	}
	t.runs = t.runs[:runs]
	for r := range t.runs {
		t.runs[r].next.Store(int64(r * n / runs))
		t.runs[r].end = int64((r + 1) * n / runs)
	}
	t.done.Store(0)
	t.joined.Store(0)
	t.holders.Store(1)
	t.failure.Store(nil)
	return t
}

func startWorkers(want int) {
	if int(workers.count.Load()) >= want {
		return
	}
	workers.Lock()
	defer workers.Unlock()
	for int(workers.count.Load()) < want {
		number := int(workers.count.Add(1))
		go func() {
			for {
				lookOut(workers.queue)
				t := <-workers.queue
				if t.work(int(t.joined.Add(1)), number) {
					t.finished <- struct{}{}
				}
				t.release()
			}
		}()
	}
}

// patience is how long a worker looks out for what comes next before it goes to sleep. The pauses between the products of an
// encoder are shorter; to be woken takes longer, 50 us and more under a hypervisor.
const patience = 50 * time.Microsecond

// lookOut waits until there is something in the channel, but not for long, and not where others could use the processor.
func lookOut[T any](channel chan T) {
	if runtime.GOMAXPROCS(0) > processors {
		return
	}
	for start := time.Now(); len(channel) == 0 && time.Since(start) < patience; {
	}
}

var processors = runtime.NumCPU()

// work takes indices, of run first and of those behind it, until none is left and reports whether it finished the last one of the
// whole task.
func (t *task) work(worker, first int) bool {
	var ws *Workspace
	if t.inWorkspace != nil {
		ws = workspaceOf(worker)
	}
	calls := int64(0)
	for r := range t.runs {
		run := &t.runs[(first+r)%len(t.runs)]
		for {
			i := run.next.Add(1) - 1
			if i >= run.end {
				break
			}
			t.call(worker, ws, int(i))
			calls++
		}
	}
	if ws != nil {
		ws.giveBack(worker)
	}
	return calls > 0 && t.done.Add(calls) == t.n
}

func (t *task) call(worker int, ws *Workspace, i int) {
	defer func() {
		if cause := recover(); cause != nil {
			failure := cause
			t.failure.CompareAndSwap(nil, &failure)
		}
	}()
	if ws != nil {
		t.inWorkspace(ws, i)
		return
	}
	t.f(worker, i)
}

func (t *task) release() {
	if t.holders.Add(-1) != 0 {
		return
	}
	t.f, t.inWorkspace = nil, nil
	workers.Lock()
	workers.free = append(workers.free, t)
	workers.Unlock()
}
