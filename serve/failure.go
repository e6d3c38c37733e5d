package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/pacl/pacl/encoder"
)

const (
	statusBadPhoto = http.StatusUnprocessableEntity
	statusTooLarge = http.StatusRequestEntityTooLarge
	statusNotFound = http.StatusNotFound
	// statusGone is logged, as nobody is there to read it: the client went away.
	statusGone = 499
)

// Failure is an answer that is not what the client asked for. Its text is for the client's eyes.
type Failure struct {
	Status     int
	Code       string
	Message    string
	RetryAfter int // seconds, for 429 and 503
	// Word is one that the model does not know, and Suggestions are the nearest that it knows.
	Word        string
	Suggestions []string
}

func (f *Failure) Error() string { return f.Message }

func fail(status int, code, format string, args ...any) *Failure {
	return &Failure{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

func busy(why string) *Failure {
	return &Failure{Status: http.StatusTooManyRequests, Code: "busy", Message: why + ": try again later", RetryAfter: 1}
}

// unknownWord is the answer to words that a model does not know.
func unknownWord(err error) *Failure {
	failure := fail(http.StatusUnprocessableEntity, "unknown_label", "%v", err)
	if unknown := (*encoder.UnknownNameError)(nil); errors.As(err, &unknown) {
		failure.Word, failure.Suggestions = unknown.Text, unknown.Suggestions
	}
	return failure
}

// failureOf finds the answer to an error. What is not known to be the client's fault is the service's, and its text stays
// in the log.
func failureOf(ctx context.Context, err error) *Failure {
	var failure *Failure
	switch {
	case errors.As(err, &failure):
		return failure
	case errors.Is(err, errStopped):
		return &Failure{Status: http.StatusServiceUnavailable, Code: "stopping", Message: errStopped.Error(), RetryAfter: 5}
	case errors.Is(err, errTooSlow), errors.Is(err, context.DeadlineExceeded):
		return fail(http.StatusGatewayTimeout, "timeout", "the request took longer than it may")
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled), errors.Is(err, context.Canceled):
		return fail(statusGone, "gone", "the client went away")
	}
	return fail(http.StatusInternalServerError, "internal", "the service failed at this request; its log says why")
}

var errTooSlow = errors.New("the request took longer than it may")

// errorBody is what clients get with every status from 400 on.
type errorBody struct {
	Error errorDetail `json:"error"`
}

type errorDetail struct {
	Code      string `json:"code"`
	Message   string `json:"message"`
	RequestID string `json:"request_id"`
	// Word and Suggestions belong to unknown_label.
	Word        string   `json:"word,omitempty"`
	Suggestions []string `json:"suggestions,omitempty"`
}

// writeFailure answers with an error. The connection is closed where the body may not have been read.
func writeFailure(w http.ResponseWriter, f *Failure, requestID string) {
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store")
	header.Del("Content-Disposition")
	if f.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(f.RetryAfter))
	}
	if f.Status == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", "Bearer")
	}
	if f.Status == statusTooLarge || f.Status == http.StatusRequestTimeout {
		header.Set("Connection", "close")
	}
	w.WriteHeader(f.Status)
	// An error here means that the client is gone.
	_ = json.NewEncoder(w).Encode(errorBody{errorDetail{f.Code, f.Message, requestID, f.Word, f.Suggestions}})
}
