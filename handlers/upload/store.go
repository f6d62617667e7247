package upload

import (
	"context"
	"io"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
)

// Sink takes the bytes of one clone that is being written. Write and the one
// call that ends it, Commit or Abort, come from one goroutine.
type Sink interface {
	io.Writer
	// Commit makes the clone durable under its hash, which the uploader has
	// computed from the same bytes, and records it.
	Commit(ctx context.Context, h content.Hash, ext string) (inventory.Clone, error)
	// Abort takes back all that was written.
	Abort()
}

// Ender is a Sink whose bytes are not where they belong when Write has returned.
type Ender interface {
	// End says that all bytes were written, and returns when the other side has
	// all of them. It comes before Commit.
	End() error
}

// Interrupter is a Sink that may wait for another node.
type Interrupter interface {
	// Interrupt has a Write, End or Commit that waits fail, and those to come. It may
	// be called by any goroutine, and does not wait itself. The sink must still
	// be aborted.
	Interrupt(cause error)
}

// Store is somewhere clones can be put: a volume of this process, or a store
// of another node.
type Store interface {
	// Target says where the store is and how much it may still take.
	Target() inventory.Target
	// Readable tells whether its clones can be opened.
	Readable() bool
	// Writable tells whether it would take a new clone.
	Writable() bool
	// Create begins a clone of size bytes, -1 where that is not known, whose
	// digest is of a type. A store that is not writable says why:
	// inventory.ErrFull, ErrReadOnly, ErrSuspect or ErrOffline.
	Create(ctx context.Context, size int64, t content.Type) (Sink, error)
	// Open gives a clone's bytes, to copy them to another store.
	Open(ctx context.Context, c inventory.Clone) (io.ReadCloser, error)
	// Renew checks that the store holds the content as recorded, and renews
	// its kept time, so that no earlier removal concerns it. It reports false
	// where it holds no such clone.
	Renew(ctx context.Context, h content.Hash) (inventory.Clone, bool, error)
}

// Stores lists the stores that an upload can choose from, all of the cluster
// or those of one prism.
type Stores func() []Store
