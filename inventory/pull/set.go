package pull

import (
	"cmp"
	"context"
	"errors"
	"hash/fnv"
	"io"
	"os"
	"slices"
	"sync/atomic"

	"github.com/ooseio/oose/content"
)

// Set is the caches of several stores used as one. A content has its place in
// one of them, by its hash and the stores' names, so that a store that comes or
// goes moves no more than its share. The zero Set is empty.
type Set struct {
	members atomic.Pointer[[]member]
}

type member struct {
	name  string
	cache *Cache
}

// Use replaces the caches, by the names of their stores. Those that are not in
// use any more are the caller's to close.
func (s *Set) Use(caches map[string]*Cache) {
	list := make([]member, 0, len(caches))
	for name, cache := range caches {
		list = append(list, member{name, cache})
	}
	slices.SortFunc(list, func(a, b member) int { return cmp.Compare(a.name, b.name) })
	s.members.Store(&list)
}

// ranked returns the caches, the one where a content belongs first.
func (s *Set) ranked(h content.Hash) []member {
	list := s.members.Load()
	if list == nil || len(*list) < 2 {
		if list == nil {
			return nil
		}
		return *list
	}
	ranked := slices.Clone(*list)
	slices.SortStableFunc(ranked, func(a, b member) int { return cmp.Compare(a.rank(h), b.rank(h)) })
	return ranked
}

func (m member) rank(h content.Hash) uint64 {
	d := fnv.New64a()
	d.Write(h.Sum())
	d.Write([]byte(m.name))
	// What is read last hardly reaches all bits of this sum: mix them.
	sum := d.Sum64()
	sum = (sum ^ sum>>30) * 0xbf58476d1ce4e5b9
	sum = (sum ^ sum>>27) * 0x94d049bb133111eb
	return sum ^ sum>>31
}

// File is Cache's: it finds a copy in whatever cache it is.
func (s *Set) File(h content.Hash) (*os.File, bool) {
	for _, m := range s.ranked(h) {
		if f, ok := m.cache.File(h); ok {
			return f, true
		}
	}
	return nil, false
}

// Join is Cache's, with the content's own cache, or the next where that one's
// disk can't be used.
func (s *Set) Join(ctx context.Context, h content.Hash, size, offset, end int64, fetch func(ctx context.Context, offset int64) (io.ReadCloser, error)) (io.ReadCloser, error) {
	for _, m := range s.ranked(h) {
		r, err := m.cache.Join(ctx, h, size, offset, end, fetch)
		if !errors.Is(err, ErrOff) {
			return r, err
		}
	}
	return nil, ErrOff
}

// Drop is Cache's, with all caches.
func (s *Set) Drop(h content.Hash) {
	for _, m := range s.ranked(h) {
		m.cache.Drop(h)
	}
}
