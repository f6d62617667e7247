package pull

import (
	"container/heap"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ooseio/oose/content"
)

// entry is a whole copy.
type entry struct {
	hash    content.Hash
	size    int64
	used    atomic.Int64 // nanoseconds since 1970
	touched atomic.Int64 // what the disk says of that
	foreign atomic.Bool  // it was made for other nodes, and no viewer here has used it

	key   int64 // what it is ordered by: never later than used; under the cache's mutex
	place int   // in the order, -1: no more in it
}

func newEntry(h content.Hash, size int64, used time.Time) *entry {
	e := &entry{hash: h, size: size, key: used.UnixNano(), place: -1}
	e.used.Store(e.key)
	e.touched.Store(e.key)
	return e
}

// keepHere notes that a viewer of this process uses the copy.
func (e *entry) keepHere() {
	if e.foreign.Load() {
		e.foreign.Store(false)
	}
}

// name is where a copy lies below the folder: its size is a part of it, so that
// a file that was cut short is known for one.
func (e *entry) name() string { return nameOf(e.hash, e.size) }

func nameOf(h content.Hash, size int64) string {
	var digits [128]byte
	hex := h.AppendTo(digits[:0])
	b := make([]byte, 0, len(hex)+24)
	b = append(append(b, hex[:2]...), '/')
	b = append(append(b, hex...), '.')
	return string(strconv.AppendInt(b, size, 10))
}

// parseName reads a name that nameOf made, and only such.
func parseName(name string) (content.Hash, int64, bool) {
	digits, length, ok := strings.Cut(path.Base(name), ".")
	if !ok {
		return content.Hash{}, 0, false
	}
	h, err := content.ParseHash(digits)
	if err != nil {
		return content.Hash{}, 0, false
	}
	size, err := strconv.ParseInt(length, 10, 64)
	if err != nil || size <= 0 || nameOf(h, size) != name {
		return content.Hash{}, 0, false
	}
	return h, size, true
}

// block is what file systems hand out, in bytes.
const block = 4096

// charge is how much room a copy takes.
func charge(size int64) int64 { return (size + block - 1) / block * block }

// order has the copies by when they were used last, the oldest first. A use
// does not move an entry: its place is put right when its turn comes.
type order []*entry

func (o order) Len() int           { return len(o) }
func (o order) Less(i, j int) bool { return o[i].key < o[j].key }

func (o order) Swap(i, j int) {
	o[i], o[j] = o[j], o[i]
	o[i].place, o[j].place = i, j
}

// Push is heap.Interface's.
func (o *order) Push(x any) {
	e := x.(*entry)
	e.place = len(*o)
	*o = append(*o, e)
}

// Pop is heap.Interface's.
func (o *order) Pop() any {
	last := len(*o) - 1
	e := (*o)[last]
	(*o)[last] = nil
	*o = (*o)[:last]
	e.place = -1
	return e
}

func (o *order) add(e *entry) { heap.Push(o, e) }

// remove takes an entry out; it tells whether it was in.
func (o *order) remove(e *entry) bool {
	if e.place < 0 || e.place >= len(*o) || (*o)[e.place] != e {
		return false
	}
	heap.Remove(o, e.place)
	return true
}

// first puts an entry before all others, until it is used again.
func (o *order) first(e *entry) {
	e.used.Store(0)
	e.key = 0
	if e.place >= 0 {
		heap.Fix(o, e.place)
	}
}

// oldest returns the least recently used copy, nil where there is none.
func (o *order) oldest() *entry {
	for len(*o) > 0 {
		e := (*o)[0]
		used := e.used.Load()
		if used <= e.key {
			return e
		}
		e.key = used
		heap.Fix(o, 0)
	}
	return nil
}
