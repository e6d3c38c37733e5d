package serve

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"

	"github.com/pacl/pacl/imaging"
)

// picture is a photo that a client sent, with its patch vectors for each model and each way of encoding it that was asked
// for. It keeps the encoded file rather than the pixels, which are several times larger and needed for little.
type picture struct {
	id            string
	data          []byte
	width, height int

	mu       sync.Mutex
	variants map[variant]Encoded
	turn     chan struct{} // held by the request that encodes; others wait for its result
}

// variant is one way of encoding a picture.
type variant struct {
	model string
	ImageOptions
}

// identify names a photo by its contents. The key is the process's own, so that nobody can tell from outside whether a
// photo that they have was sent by somebody else.
func (s *Server) identify(data []byte) string {
	mac := hmac.New(sha256.New, s.secret)
	mac.Write(data)
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

func newPicture(id string, data []byte, width, height int) *picture {
	return &picture{
		id: id, data: data, width: width, height: height,
		variants: make(map[variant]Encoded), turn: make(chan struct{}, 1),
	}
}

// encoded returns the patch vectors, encoding the photo when they are not there yet.
func (p *picture) encoded(ctx context.Context, s *Server, m *model, o ImageOptions) (Encoded, error) {
	which := variant{m.name, o}
	if e := p.variant(which); e != nil {
		s.metrics.imageHits.Inc()
		return e, nil
	}
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if e := p.variant(which); e != nil {
		s.metrics.imageHits.Inc()
		return e, nil
	}
	s.metrics.imageMisses.Inc()
	photo, free, err := p.pixels(ctx, s)
	if err != nil {
		return nil, err
	}
	defer free()
	e, err := m.batches.encode(ctx, photo, o)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.variants[which] = e
	p.mu.Unlock()
	return e, nil
}

func (p *picture) variant(which variant) Encoded {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.variants[which]
}

// bytes is the memory that the picture holds.
func (p *picture) bytes() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	total := int64(len(p.data)) + 512
	for _, e := range p.variants {
		total += e.Bytes()
	}
	return total
}

// decodedBytes is what a pixel takes while it is decoded: three bytes of the photo and those of the decoder's own picture.
const decodedBytes = 7

// pixels decodes the photo, as one of the few that are decoded at a time. Until free is called the photo counts among those
// that are held; a request holds one at most, so that those that wait for room get it.
func (p *picture) pixels(ctx context.Context, s *Server) (photo *imaging.Image, free func(), err error) {
	room := min(decodedBytes*int64(p.width)*int64(p.height), s.config.DecodedBytes)
	if err := s.decoded.Acquire(ctx, room); err != nil {
		return nil, nil, context.Cause(ctx)
	}
	defer func() {
		if photo == nil {
			s.decoded.Release(room)
		}
	}()
	release, err := s.compute(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	photo, err = imaging.Decode(p.data, imaging.Limits{Pixels: int64(s.config.MaxPixels), Bytes: s.config.MaxBytes})
	if err != nil {
		return nil, nil, fail(statusBadPhoto, "bad_image", "%v", err)
	}
	return photo, func() { s.decoded.Release(room) }, nil
}

// keep puts a picture into the cache or corrects its size there.
func (s *Server) keep(p *picture) error {
	if !s.pictures.put(p.id, p, p.bytes()) {
		return fail(statusTooLarge, "image_too_large", "the patch vectors of this photo hold %d bytes, the cache %d in all",
			p.bytes(), s.config.CacheBytes)
	}
	return nil
}

// find returns a picture of the cache.
func (s *Server) find(id string) (*picture, error) {
	if p, ok := s.pictures.get(id); ok {
		return p, nil
	}
	return nil, fail(statusNotFound, "unknown_image", "image %s is not in the cache (any more): send the photo again", quoted(id))
}

func quoted(text string) string {
	if len(text) > 64 {
		text = text[:64] + "…"
	}
	return fmt.Sprintf("%q", text)
}
