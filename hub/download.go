package hub

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// download loads a blob: into blob.incomplete, continued where an earlier attempt ended, and under its name when size and
// hash are right. Content with another hash is thrown away and loaded once more from its beginning.
func (p *puller) download(ctx context.Context, blob string, file remoteFile) error {
	incomplete := blob + ".incomplete"
	for fresh := false; ; fresh = true {
		most := int64(0)
		err := p.retry(ctx, func() (bool, error) {
			have, err := p.receive(ctx, incomplete, file)
			// Bytes that come again after others were thrown away are no gain: a server that lies would be asked for ever.
			gained := have > most
			most = max(most, have)
			return gained, err
		})
		if err != nil {
			return err
		}
		found, err := hashFile(incomplete, file.etag)
		if err != nil {
			return err
		}
		if found == file.etag {
			return os.Rename(incomplete, blob)
		}
		if err := os.Remove(incomplete); err != nil {
			return err
		}
		if fresh {
			return fmt.Errorf("content has the hash %s, expected %s", found, file.etag)
		}
	}
}

// receive asks for what is missing of a file and appends it. It returns how many bytes were received from the file's
// beginning on, by this attempt or those before it, whether they are kept or not.
func (p *puller) receive(ctx context.Context, incomplete string, file remoteFile) (have int64, err error) {
	out, err := os.OpenFile(incomplete, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if have, err = out.Seek(0, io.SeekEnd); err != nil {
		return 0, err
	}
	if have == file.size {
		return have, nil
	}
	if file.size >= 0 && have > file.size {
		have = 0
	}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(p.stall, func() { cancel(fmt.Errorf("nothing received for %v", p.stall)) })
	defer watch.Stop()
	silence := func(err error) error {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}

	header := http.Header{}
	if have > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", have))
	}
	response, err := p.do(ctx, http.MethodGet, file.url, header, always)
	if status, ok := errors.AsType[*statusError](err); ok && status.status == http.StatusRequestedRangeNotSatisfiable {
		// What is there is no beginning of the file.
		return 0, errors.Join(damaged("%s cannot be continued at byte %d", file.url, have), out.Truncate(0))
	}
	if err != nil {
		return 0, silence(err)
	}
	defer response.Body.Close()
	if have, err = startOf(response, have, file.size); err != nil {
		return have, err
	}
	if err := out.Truncate(have); err != nil {
		return have, err
	}
	if _, err := out.Seek(have, io.SeekStart); err != nil {
		return have, err
	}

	before := p.done
	defer func() { p.done = before }()
	p.done += have
	buffer := make([]byte, 256<<10)
	for {
		n, readErr := response.Body.Read(buffer)
		watch.Reset(p.stall)
		if file.size >= 0 && have+int64(n) > file.size {
			return have, errors.Join(damaged("%s sends more than the %d bytes announced", file.url, file.size), out.Truncate(0))
		}
		if n > 0 {
			if _, err := out.Write(buffer[:n]); err != nil {
				return have, err
			}
			have += int64(n)
			p.done += int64(n)
			p.progress(Progress{File: file.name, Done: p.done, Total: p.total})
		}
		if readErr == io.EOF {
			break
		}
		if readErr != nil {
			return have, silence(readErr)
		}
	}
	if file.size >= 0 && have != file.size {
		return have, damaged("%s ended after %d of %d bytes", file.url, have, file.size)
	}
	return have, out.Sync()
}

// startOf returns the place in the file that an answer begins at and checks the sizes that its headers announce.
func startOf(response *http.Response, asked, size int64) (int64, error) {
	start := int64(0)
	if response.StatusCode == http.StatusPartialContent {
		var total string
		var last int64
		content := response.Header.Get("Content-Range")
		if _, err := fmt.Sscanf(content, "bytes %d-%d/%s", &start, &last, &total); err != nil || start != asked {
			return 0, damaged("asked for the bytes from %d on, got Content-Range %q", asked, content)
		}
		if n, err := strconv.ParseInt(total, 10, 64); err == nil && size >= 0 && n != size {
			return 0, damaged("server announces %d bytes, the hub %d", n, size)
		}
	}
	if size >= 0 && response.ContentLength >= 0 && start+response.ContentLength > size {
		return 0, damaged("server announces %d bytes, the hub %d", start+response.ContentLength, size)
	}
	return start, nil
}

// hashFile hashes a file as its etag was made: 64 digits are its SHA-256, 40 the SHA-1 that git gives to a blob.
func hashFile(name, etag string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	var sum hash.Hash
	if len(etag) == 2*sha256.Size {
		sum = sha256.New()
	} else {
		info, err := file.Stat()
		if err != nil {
			return "", err
		}
		sum = sha1.New()
		fmt.Fprintf(sum, "blob %d\x00", info.Size())
	}
	if _, err := io.Copy(sum, file); err != nil {
		return "", err
	}
	return strings.ToLower(hex.EncodeToString(sum.Sum(nil))), nil
}
