package serve

import (
	"container/list"
	"sync"
)

// lru keeps values up to a total of bytes; what was used longest ago goes first.
type lru[V any] struct {
	mu      sync.Mutex
	limit   int64
	bytes   int64
	order   *list.List // of *lruEntry[V], the latest first
	entries map[string]*list.Element
}

type lruEntry[V any] struct {
	key   string
	value V
	bytes int64
}

func newLRU[V any](limit int64) *lru[V] {
	return &lru[V]{limit: limit, order: list.New(), entries: make(map[string]*list.Element)}
}

// get returns a value and makes it the latest.
func (c *lru[V]) get(key string) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, ok := c.entries[key]
	if !ok {
		var none V
		return none, false
	}
	c.order.MoveToFront(element)
	return element.Value.(*lruEntry[V]).value, true
}

// put stores a value that holds so many bytes, or corrects the bytes of one that is there. A value larger than the whole
// cache is not kept, and put says so.
func (c *lru[V]) put(key string, value V, bytes int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if element, ok := c.entries[key]; ok {
		c.remove(element)
	}
	if bytes > c.limit {
		return false
	}
	c.entries[key] = c.order.PushFront(&lruEntry[V]{key, value, bytes})
	c.bytes += bytes
	for c.bytes > c.limit {
		c.remove(c.order.Back())
	}
	return true
}

func (c *lru[V]) drop(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, ok := c.entries[key]
	if ok {
		c.remove(element)
	}
	return ok
}

func (c *lru[V]) remove(element *list.Element) {
	entry := c.order.Remove(element).(*lruEntry[V])
	delete(c.entries, entry.key)
	c.bytes -= entry.bytes
}

func (c *lru[V]) size() (entries int, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries), c.bytes
}
