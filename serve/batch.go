package serve

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/pacl/pacl/imaging"
)

// batches encodes photos for one model. While a batch is being encoded the photos of other requests gather, and those
// that are encoded in the same way make the next one: nobody waits for a batch to fill.
type batches struct {
	engine Engine
	limit  int
	note   func(size int)

	mu      sync.Mutex
	wake    *sync.Cond
	pending []*encodeJob
	closed  bool
	done    chan struct{}
}

type encodeJob struct {
	ctx     context.Context
	photo   *imaging.Image
	options ImageOptions
	result  Encoded
	err     error
	done    chan struct{}
}

var errStopped = errors.New("the service is stopping")

func newBatches(engine Engine, limit int, note func(size int)) *batches {
	b := &batches{engine: engine, limit: max(1, limit), note: note, done: make(chan struct{})}
	b.wake = sync.NewCond(&b.mu)
	go b.work()
	return b
}

// encode waits until the photo has been encoded or the context ends. A photo whose request has ended before its batch
// began is left out of it.
func (b *batches) encode(ctx context.Context, photo *imaging.Image, o ImageOptions) (Encoded, error) {
	job := &encodeJob{ctx: ctx, photo: photo, options: o, done: make(chan struct{})}
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil, errStopped
	}
	b.pending = append(b.pending, job)
	b.wake.Signal()
	b.mu.Unlock()
	select {
	case <-job.done:
		return job.result, job.err
	case <-ctx.Done():
		// A photo that nobody waits for must not stay in memory until the batch before it is done.
		b.mu.Lock()
		b.pending = slices.DeleteFunc(b.pending, func(other *encodeJob) bool { return other == job })
		b.mu.Unlock()
		return nil, context.Cause(ctx)
	}
}

// close lets what is pending be encoded and ends the worker.
func (b *batches) close() {
	b.mu.Lock()
	b.closed = true
	b.wake.Signal()
	b.mu.Unlock()
	<-b.done
}

func (b *batches) work() {
	defer close(b.done)
	for {
		batch := b.next()
		if batch == nil {
			return
		}
		b.run(batch)
	}
}

// next takes the oldest job and those that fit to it.
func (b *batches) next() []*encodeJob {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		var batch, rest []*encodeJob
		for _, job := range b.pending {
			switch {
			case job.ctx.Err() != nil:
				job.err = context.Cause(job.ctx)
				close(job.done)
			case len(batch) < b.limit && (len(batch) == 0 || batch[0].options == job.options):
				batch = append(batch, job)
			default:
				rest = append(rest, job)
			}
		}
		b.pending = rest
		if len(batch) > 0 {
			return batch
		}
		if b.closed {
			return nil
		}
		b.wake.Wait()
	}
}

// run encodes a batch. When it fails, for whatever reason, its photos are tried one by one, so that a request fails by its
// own photo only.
func (b *batches) run(batch []*encodeJob) {
	b.note(len(batch))
	results, err := b.try(batch)
	if err != nil && len(batch) > 1 {
		for _, job := range batch {
			if job.ctx.Err() == nil {
				b.run([]*encodeJob{job})
				continue
			}
			job.err = context.Cause(job.ctx)
			close(job.done)
		}
		return
	}
	for i, job := range batch {
		if job.err = err; err == nil {
			job.result = results[i]
		}
		close(job.done)
	}
}

// try encodes a batch for as long as somebody waits for it.
func (b *batches) try(batch []*encodeJob) (results []Encoded, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var waiting sync.WaitGroup
	var stops []func() bool
	waiting.Add(len(batch))
	for _, job := range batch {
		stops = append(stops, context.AfterFunc(job.ctx, waiting.Done))
	}
	allGone := make(chan struct{})
	go func() {
		waiting.Wait()
		cancel()
		close(allGone)
	}()
	defer func() {
		for _, stop := range stops {
			if stop() {
				waiting.Done()
			}
		}
		<-allGone
		if reason := recover(); reason != nil {
			err = &panicError{reason: reason, stack: debug.Stack()}
		}
	}()
	photos := make([]*imaging.Image, len(batch))
	for i, job := range batch {
		photos[i] = job.photo
	}
	results, err = b.engine.Encode(ctx, photos, batch[0].options)
	if err == nil && len(results) != len(batch) {
		err = fmt.Errorf("encoder: %d results for %d photos", len(results), len(batch))
	}
	return results, err
}

// panicError is a panic that was caught; the stack goes to the log, not to the client.
type panicError struct {
	reason any
	stack  []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.reason) }
