package serve

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
)

// budget bounds the bytes of all requests and answers that are held at once, however many clients there are.
type budget struct {
	limit int64
	used  atomic.Int64
}

func (b *budget) take(n int64) bool {
	if b.used.Add(n) > b.limit {
		b.used.Add(-n)
		return false
	}
	return true
}

func (b *budget) give(n int64) { b.used.Add(-n) }

// loan is what one request holds of the budget.
type loan struct {
	budget *budget
	held   int64
}

func (l *loan) take(n int64) error {
	if !l.budget.take(n) {
		return busy("the service holds as many bytes of requests and answers as it may")
	}
	l.held += n
	return nil
}

func (l *loan) end() {
	l.budget.give(l.held)
	l.held = 0
}

// readAll reads at most limit bytes. What it allocates grows with what arrives, never with what was announced, and is
// accounted for before it is allocated.
func readAll(r io.Reader, limit int64, l *loan, what string) ([]byte, error) {
	const first = 64 << 10
	size := min(first, limit+1)
	if err := l.take(size); err != nil {
		return nil, err
	}
	data := make([]byte, 0, size)
	for {
		n, err := r.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if int64(len(data)) > limit {
			return nil, fail(statusTooLarge, "too_large", "%s has more than %d bytes", what, limit)
		}
		switch {
		case err == io.EOF:
			return data, nil
		case err != nil:
			return nil, readError(err, what)
		case len(data) == cap(data):
			grown := min(2*int64(cap(data)), limit+1)
			if err := l.take(grown); err != nil {
				return nil, err
			}
			larger := make([]byte, len(data), grown)
			copy(larger, data)
			l.budget.give(int64(cap(data)))
			l.held -= int64(cap(data))
			data = larger
		}
	}
}

// readError says whose fault it is that a body could not be read.
func readError(err error, what string) error {
	var failure *Failure
	var tooLarge *http.MaxBytesError
	var timeout net.Error
	switch {
	case errors.As(err, &failure):
		return failure
	case errors.As(err, &tooLarge):
		return fail(statusTooLarge, "too_large", "the request has more than %d bytes", tooLarge.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return fail(http.StatusRequestTimeout, "slow_body", "%s did not arrive in time", what)
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fail(http.StatusBadRequest, "short_body", "%s ends before its announced length", what)
	}
	return fail(http.StatusBadRequest, "bad_body", "%s cannot be read: %v", what, err)
}
