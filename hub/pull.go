package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/pacl/pacl/internal/filelock"
)

// PullOptions change how a model is downloaded. The zero value does what the environment says: HF_ENDPOINT, HF_TOKEN (or the
// token file that `huggingface-cli login` writes), HF_HUB_OFFLINE and the variables of the cache.
type PullOptions struct {
	Endpoint string // address of the hub, https://huggingface.co if neither this nor HF_ENDPOINT is set
	Token    string
	CacheDir string
	Client   *http.Client
	Progress func(Progress) // called from one goroutine, after each piece that was received

	// Sleep waits between attempts; nil stands for the real clock.
	Sleep func(ctx context.Context, d time.Duration) error
	// Stall is how long a connection may be silent, a minute if 0.
	Stall time.Duration
	// Attempts is how often a request is made in a row without a byte being gained, 6 if 0.
	Attempts int
}

// Progress says how far a download is. Sizes count the files that are needed, those present already included.
type Progress struct {
	File        string
	Done, Total int64 // bytes of all files
}

// Pull downloads a model directory, an id like "org/name" or "org/name@revision", into the cache that Hugging Face's tools
// share and returns its snapshot directory. Only files that the program reads are loaded. Each is checked by size and hash
// before it gets its name; what was received of an interrupted one stays and is continued. The snapshot and the reference
// appear when all files are there, so that a model is found whole or not at all.
func Pull(ctx context.Context, reference string, options PullOptions) (string, error) {
	if !IsID(reference) {
		return "", fmt.Errorf("pull %q: expected a hub id like organisation/name or organisation/name@revision", reference)
	}
	id, revision, _ := strings.Cut(reference, "@")
	if revision == "" {
		revision = "main"
	}
	p := newPuller(options)
	if offline() {
		if dir, ok := findSnapshot(p.cache, id, revision); ok {
			return dir, nil
		}
		return "", fmt.Errorf("pull %s: not in %s, and HF_HUB_OFFLINE forbids to download it", reference, p.cache)
	}
	dir, err := p.pull(ctx, id, revision)
	if err != nil {
		return "", fmt.Errorf("pull %s: %w", reference, err)
	}
	return dir, nil
}

// puller is one download of a model.
type puller struct {
	client
	cache    string
	progress func(Progress)
	link     func(target, name string) error // os.Symlink; tests let it fail as Windows does
	done     int64
	total    int64
}

func newPuller(o PullOptions) *puller {
	p := &puller{cache: o.CacheDir, progress: o.Progress, link: os.Symlink}
	if p.cache == "" {
		p.cache = CacheDir()
	}
	if p.progress == nil {
		p.progress = func(Progress) {}
	}
	p.client = newClient(o)
	return p
}

func offline() bool {
	switch strings.ToUpper(os.Getenv("HF_HUB_OFFLINE")) {
	case "1", "ON", "YES", "TRUE":
		return true
	}
	return false
}

// remoteFile is a file of the model as the hub describes it.
type remoteFile struct {
	name string // with slashes
	url  string
	etag string // its hash: SHA-256 of a large file, git's SHA-1 of another; names the blob
	size int64  // -1 if the hub does not say
}

func (p *puller) pull(ctx context.Context, id, revision string) (string, error) {
	commit, names, err := p.list(ctx, id, revision)
	if err != nil {
		return "", err
	}
	names, err = neededFiles(names)
	if err != nil {
		return "", err
	}
	files := make([]remoteFile, len(names))
	for i, name := range names {
		if files[i], err = p.describe(ctx, id, commit, name); err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		p.total += max(files[i].size, 0)
	}
	root := filepath.Join(p.cache, repositoryDir(id))
	blobs := filepath.Join(root, "blobs")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return "", err
	}
	for _, file := range files {
		if err := p.fetch(ctx, blobs, file); err != nil {
			return "", fmt.Errorf("%s: %w", file.name, err)
		}
	}
	snapshot := filepath.Join(root, "snapshots", commit)
	for _, file := range files {
		if err := p.place(root, snapshot, file); err != nil {
			return "", fmt.Errorf("%s: %w", file.name, err)
		}
	}
	if revision != commit {
		if err := writeAtomically(filepath.Join(root, "refs", filepath.FromSlash(revision)), commit); err != nil {
			return "", err
		}
	}
	return snapshot, nil
}

// fetch makes sure that a file's blob is there.
func (p *puller) fetch(ctx context.Context, blobs string, file remoteFile) error {
	blob := filepath.Join(blobs, file.etag)
	complete := func() bool {
		info, err := os.Stat(blob)
		return err == nil && info.Mode().IsRegular() && (file.size < 0 || info.Size() == file.size)
	}
	before := p.done
	if !complete() {
		unlock, err := p.lock(ctx, blobs, file.etag)
		if err != nil {
			return err
		}
		defer unlock()
		if !complete() { // another process may have loaded it meanwhile
			if err := p.download(ctx, blob, file); err != nil {
				return err
			}
		}
	}
	p.done = before + max(file.size, 0)
	p.progress(Progress{File: file.name, Done: p.done, Total: p.total})
	return nil
}

// lock keeps other processes, Python's included, from loading the same blob at the same time.
func (p *puller) lock(ctx context.Context, blobs, etag string) (unlock func(), err error) {
	repository := filepath.Base(filepath.Dir(blobs))
	name := filepath.Join(p.cache, ".locks", repository, etag+".lock")
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		locked, err := filelock.Try(file)
		if err == nil && locked {
			return func() { file.Close() }, nil
		}
		if err == nil {
			err = p.sleep(ctx, 200*time.Millisecond)
		}
		if err != nil {
			file.Close()
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
	}
}

// place puts a file into the snapshot: a relative link to its blob, or a copy where links are not allowed.
func (p *puller) place(root, snapshot string, file remoteFile) error {
	name := filepath.Join(snapshot, filepath.FromSlash(file.name))
	blob := filepath.Join(root, "blobs", file.etag)
	if same(name, blob) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	target, err := filepath.Rel(filepath.Dir(name), blob)
	if err != nil {
		return err
	}
	temporary := name + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if p.link(target, temporary) != nil {
		if err := copyFile(temporary, blob); err != nil {
			return errors.Join(err, os.Remove(temporary))
		}
	}
	return os.Rename(temporary, name)
}

// safeName says whether a name that the hub gave stays inside a directory on every system.
func safeName(name string) bool {
	return filepath.IsLocal(filepath.FromSlash(name)) && path.Clean(name) == name && !strings.ContainsAny(name, `\:`)
}
