package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pacl/pacl/internal/lazyregexp"
)

const (
	defaultEndpoint = "https://huggingface.co"
	mostListBytes   = 32 << 20 // of the answer that lists a model's files
	mostRedirects   = 8
	longestWait     = 5 * time.Minute // that a server may ask for before the next attempt
)

// client speaks the hub's protocol; a token goes to the endpoint's host only.
type client struct {
	endpoint string
	token    string
	http     *http.Client
	sleep    func(ctx context.Context, d time.Duration) error
	stall    time.Duration
	attempts int
}

func newClient(o PullOptions) client {
	c := client{endpoint: o.Endpoint, token: o.Token, sleep: o.Sleep, stall: o.Stall, attempts: o.Attempts}
	if c.endpoint == "" {
		c.endpoint = os.Getenv("HF_ENDPOINT")
	}
	if c.endpoint == "" {
		c.endpoint = defaultEndpoint
	}
	c.endpoint = strings.TrimRight(c.endpoint, "/")
	if c.token == "" {
		c.token = environmentToken()
	}
	if c.sleep == nil {
		c.sleep = sleep
	}
	if c.stall <= 0 {
		c.stall = time.Minute
	}
	if c.attempts <= 0 {
		c.attempts = 6
	}
	base := o.Client
	if base == nil {
		base = &http.Client{}
	}
	copied := *base
	copied.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.http = &copied
	return c
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// environmentToken is the token of HF_TOKEN, or of the file that Hugging Face's login writes.
func environmentToken() string {
	for _, name := range []string{"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"} {
		if token := strings.TrimSpace(os.Getenv(name)); token != "" {
			return token
		}
	}
	if os.Getenv("HF_HUB_DISABLE_IMPLICIT_TOKEN") == "1" {
		return ""
	}
	name := os.Getenv("HF_TOKEN_PATH")
	if name == "" {
		name = filepath.Join(homeDir(), "token")
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// statusError is an answer that is not the wanted one.
type statusError struct {
	url        string
	status     int
	code       string // the hub's own name of the error
	retryAfter string
}

func (e *statusError) Error() string {
	switch {
	case e.code == "GatedRepo":
		return "access is granted on request only: ask for it on the model's page and set HF_TOKEN"
	case e.status == http.StatusUnauthorized:
		return "the hub knows no such model, or it is private: check the id, and set HF_TOKEN for a private one"
	case e.status == http.StatusForbidden:
		return "the token of HF_TOKEN does not give access to it"
	case e.code == "RevisionNotFound":
		return "the hub knows no such revision of it"
	case e.status == http.StatusNotFound:
		return fmt.Sprintf("the hub has no %s", e.url)
	}
	return fmt.Sprintf("%s answered %d %s", e.url, e.status, http.StatusText(e.status))
}

func (e *statusError) temporary() bool {
	return e.status == http.StatusTooManyRequests || e.status == http.StatusRequestTimeout || e.status >= 500
}

// damagedError is content that is not what was announced; asking again may help.
type damagedError struct{ error }

func damaged(format string, values ...any) error { return damagedError{fmt.Errorf(format, values...)} }

// retry repeats a request until it succeeds, its error is final, or it failed too often in a row without a gain.
func (c *client) retry(ctx context.Context, attempt func() (gained bool, err error)) error {
	wait := time.Second
	for failures := 1; ; failures++ {
		gained, err := attempt()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		answer, refused := errors.AsType[*statusError](err)
		if refused && !answer.temporary() || isLocal(err) {
			return err
		}
		if gained {
			failures, wait = 1, time.Second
		}
		if failures >= c.attempts {
			return fmt.Errorf("gave up after %d attempts: %w", failures, err)
		}
		pause := wait
		if refused {
			pause = retryAfter(answer.retryAfter, wait)
		}
		if err := c.sleep(ctx, pause); err != nil {
			return err
		}
		wait = min(2*wait, 30*time.Second)
	}
}

// isLocal says whether an error is of this machine's files, or of a host that does not exist: no repetition mends it.
func isLocal(err error) bool {
	if _, ok := errors.AsType[*os.PathError](err); ok {
		return true
	}
	unknown, ok := errors.AsType[*net.DNSError](err)
	return ok && unknown.IsNotFound
}

// retryAfter reads a Retry-After header, seconds or a date.
func retryAfter(header string, otherwise time.Duration) time.Duration {
	wait := otherwise
	if seconds, err := strconv.Atoi(header); err == nil {
		wait = time.Duration(min(max(seconds, 0), 1e6)) * time.Second
	} else if date, err := http.ParseTime(header); err == nil {
		wait = max(time.Until(date), 0)
	}
	return min(wait, longestWait)
}

// do sends one request and follows redirects while follow allows it. The token stays with the endpoint's host. The caller
// closes the body.
func (c *client) do(ctx context.Context, method, address string, header http.Header, follow func(*http.Response) bool) (*http.Response, error) {
	for range mostRedirects {
		request, err := http.NewRequestWithContext(ctx, method, address, nil)
		if err != nil {
			return nil, err
		}
		for name, values := range header {
			request.Header[name] = values
		}
		request.Header.Set("User-Agent", "pacl")
		request.Header.Set("Accept-Encoding", "identity")
		if c.token != "" && c.isEndpoint(request.URL) {
			request.Header.Set("Authorization", "Bearer "+c.token)
		}
		response, err := c.http.Do(request)
		if err != nil {
			return nil, err
		}
		location := response.Header.Get("Location")
		redirect := response.StatusCode/100 == 3 && location != ""
		switch {
		case redirect && follow(response):
			response.Body.Close()
			next, err := request.URL.Parse(location)
			if err != nil {
				return nil, fmt.Errorf("redirect to %q: %w", location, err)
			}
			if next.Scheme != "http" && next.Scheme != "https" || request.URL.Scheme == "https" && next.Scheme == "http" {
				return nil, fmt.Errorf("redirect from %s to %s is refused", request.URL.Scheme, next.Scheme)
			}
			address = next.String()
			continue
		case redirect || response.StatusCode/100 == 2:
			return response, nil
		}
		response.Body.Close()
		return nil, &statusError{
			url: address, status: response.StatusCode,
			code: response.Header.Get("X-Error-Code"), retryAfter: response.Header.Get("Retry-After"),
		}
	}
	return nil, fmt.Errorf("%s redirects more than %d times", address, mostRedirects)
}

func always(*http.Response) bool { return true }

func (c *client) isEndpoint(address *url.URL) bool {
	endpoint, err := url.Parse(c.endpoint)
	return err == nil && address.Scheme == endpoint.Scheme && strings.EqualFold(address.Host, endpoint.Host)
}

// commitPattern is what a commit may look like; it becomes a directory's name.
var commitPattern = lazyregexp.New(`^[0-9A-Za-z][0-9A-Za-z_-]{0,63}$`)

// list asks for the commit of a revision and the names of its files.
func (c *client) list(ctx context.Context, id, revision string) (commit string, names []string, err error) {
	address := fmt.Sprintf("%s/api/models/%s/revision/%s", c.endpoint, id, url.PathEscape(revision))
	var answer struct {
		SHA      string `json:"sha"`
		Siblings []struct {
			Name string `json:"rfilename"`
		} `json:"siblings"`
	}
	err = c.retry(ctx, func() (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, c.stall)
		defer cancel()
		response, err := c.do(ctx, http.MethodGet, address, nil, always)
		if err != nil {
			return false, err
		}
		defer response.Body.Close()
		text, err := io.ReadAll(io.LimitReader(response.Body, mostListBytes+1))
		if err != nil {
			return false, err
		}
		if len(text) > mostListBytes {
			return false, fmt.Errorf("list of files: more than %d bytes", mostListBytes)
		}
		if err := json.Unmarshal(text, &answer); err != nil {
			return false, fmt.Errorf("list of files of %s: %w", address, err)
		}
		return false, nil
	})
	if err != nil {
		return "", nil, err
	}
	if !commitPattern().MatchString(answer.SHA) {
		return "", nil, fmt.Errorf("list of files: commit %q, expected hexadecimal digits", answer.SHA)
	}
	for _, sibling := range answer.Siblings {
		if safeName(sibling.Name) {
			names = append(names, sibling.Name)
		}
	}
	return answer.SHA, names, nil
}

var etagPattern = lazyregexp.New(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// describe asks for hash and size of a file. Where its content lies elsewhere, the hub's own answer is the one that counts.
func (c *client) describe(ctx context.Context, id, commit, name string) (remoteFile, error) {
	escaped := make([]string, 0, 4)
	for part := range strings.SplitSeq(name, "/") {
		escaped = append(escaped, url.PathEscape(part))
	}
	file := remoteFile{
		name: name, size: -1,
		url: fmt.Sprintf("%s/%s/resolve/%s/%s", c.endpoint, id, url.PathEscape(commit), strings.Join(escaped, "/")),
	}
	var header http.Header
	var redirected bool
	err := c.retry(ctx, func() (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, c.stall)
		defer cancel()
		response, err := c.do(ctx, http.MethodHead, file.url, nil, func(r *http.Response) bool {
			return r.Header.Get("X-Linked-Etag") == ""
		})
		if err != nil {
			return false, err
		}
		header, redirected = response.Header, response.StatusCode/100 == 3
		return false, response.Body.Close()
	})
	if err != nil {
		return file, err
	}
	file.etag = header.Get("X-Linked-Etag")
	if file.etag == "" {
		file.etag = header.Get("ETag")
	}
	file.etag = strings.Trim(strings.TrimPrefix(file.etag, "W/"), `"`)
	if !etagPattern().MatchString(file.etag) {
		return file, fmt.Errorf("the hub names no hash to check it by: etag %q, expected 40 or 64 hexadecimal digits", file.etag)
	}
	size := header.Get("X-Linked-Size")
	if size == "" && !redirected {
		size = header.Get("Content-Length")
	}
	if size != "" {
		if file.size, err = strconv.ParseInt(size, 10, 64); err != nil || file.size < 0 {
			return file, fmt.Errorf("size %q, expected a number of bytes", size)
		}
	}
	return file, nil
}
