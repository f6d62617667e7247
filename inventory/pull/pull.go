// Package pull keeps local copies of content that was fetched for viewers from
// stores elsewhere, in the folder "cache" of a store of this process.
//
// A copy is no clone: it is in no record, counts for nothing, and may go at any
// time. What the package promises:
//   - One fetch a content for all who wait. They read what has come while the
//     fetch goes on; who leaves does not stop it.
//   - A copy is read as it comes but for its end, which nobody gets before the
//     digest of all of it was found right. One with another digest is thrown
//     away; its readers end with ErrCorrupt, or where they got nothing yet, with
//     ErrGone.
//   - The least recently used copies go first; all of them together, those that
//     are being fetched included, stay within the configured room and leave the
//     store's reserve alone.
//   - No viewer fails because of it. Every error says: read from the source.
//
// Other nodes may want a copy too, because they are asked for its content so
// often: Want makes it, Lend gives it to them. When they want it no more, and
// no viewer here has used it, it is the first to go.
//
// Which requests start a fetch: one that begins near the beginning, where the
// content fits the room; one further back only where it is at most a quarter of
// the room (its own range is then read from the source). While there is room
// left everything is kept; once something has to give way, only what is asked
// for a second time within a while, so that what is watched once does not push
// out what is watched often.
package pull

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
)

// Why there is no reader, or why one ends before its end. In all these cases
// the caller reads from the source itself, from the byte it has come to.
var (
	// ErrAhead says that the fetch is far from where the reader wants to begin.
	ErrAhead = errors.New("the fetch has not come that far")
	// ErrBusy says that as many fetches as may be are under way, or that the
	// disk does not answer quickly now.
	ErrBusy = errors.New("too much is being fetched")
	// ErrFull says that the content does not fit.
	ErrFull = errors.New("no room for a copy")
	// ErrOnce says that room would have to be made for something that nobody
	// has asked for before.
	ErrOnce = errors.New("not asked for often enough to be kept")
	// ErrOff says that the store's disk can't be used for copies now.
	ErrOff = errors.New("no copies are kept now")
	// ErrGone says that the content is removed or blocked, or that what was
	// fetched of it a while ago was wrong.
	ErrGone = errors.New("no copy of this content is kept")
	// ErrCorrupt says that what was fetched has another digest than its hash:
	// the bytes that this reader gave before are not to be trusted.
	ErrCorrupt = errors.New("what was fetched has another digest")
	// ErrStalled says that the fetch does not get on.
	ErrStalled = errors.New("the fetch has stalled")
)

// Removals knows what must not be kept; *inventory.Index does.
type Removals interface {
	// Gone tells whether a content is removed or blocked.
	Gone(ctx context.Context, h content.Hash) (bool, error)
	// OnGone has f called with every content that is removed or blocked from
	// now on. f is quick and calls nothing back.
	OnGone(f func(content.Hash)) (stop func())
}

// Open returns the cache of one store with room for max bytes. It reads the
// folder in the background; until then, and while the disk can't be used,
// nothing is found and nothing kept. removals may be nil. Close ends it, before
// the store is closed.
func Open(v *inventory.Volume, max int64, removals Removals, log *zap.Logger) *Cache {
	return open(folder{v.CacheFolder()}, max, removals, log.With(zap.String("store", v.Name())), defaultTuning())
}

// Stats is what an operator wants to know of a cache.
type Stats struct {
	Max      int64  `json:"max"`      // bytes
	Bytes    int64  `json:"bytes"`    // taken, by what is being fetched as well
	Files    int64  `json:"files"`    // whole copies
	Fetches  int64  `json:"fetches"`  // under way
	Hits     int64  `json:"hits"`     // reads of whole copies
	Joined   int64  `json:"joined"`   // reads of what was being fetched
	Misses   int64  `json:"misses"`   // contents that were not there
	Lent     int64  `json:"lent"`     // reads of whole copies by other nodes
	Fetched  int64  `json:"fetched"`  // copies that became whole
	Failed   int64  `json:"failed"`   // fetches that came to nothing
	Evicted  int64  `json:"evicted"`  // copies that gave way to others
	Disabled string `json:"disabled"` // why nothing is kept now, "" where something is
}
