package pull

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/ooseio/oose/inventory"
)

// disk is the folder of copies of one store; names are paths below it. All
// methods can be called at the same time, and return within a bounded time.
type disk interface {
	// Medium tells which medium is there: another number whenever the root was
	// taken anew, 0 while there is none that can be used.
	Medium() uint64
	// Room returns how many bytes may still be taken; less than none where too
	// many are.
	Room(ctx context.Context) (int64, error)
	// Open opens a copy and tells its size. An error that is fs.ErrNotExist says
	// there is none.
	Open(ctx context.Context, name string) (*os.File, int64, error)
	// Create makes a temporary file with room for size bytes.
	Create(ctx context.Context, size int64) (file, error)
	// Remove removes a copy; that there is none is no error.
	Remove(ctx context.Context, name string) error
	// Touch notes when a copy was last used.
	Touch(ctx context.Context, name string, at time.Time) error
	// List calls each with every file there is, which may be anything.
	List(ctx context.Context, each func(name string, size int64, used time.Time)) error
	// OnShort has give called when something else needs room.
	OnShort(give func(bytes int64) bool)
}

// file is a copy that is being written. One goroutine writes, others read.
type file interface {
	io.ReaderAt
	io.WriterAt
	// Keep makes what was written durable under a name.
	Keep(ctx context.Context, name string) error
	// Close gives the file back, and removes it where it was not kept.
	Close() error
}

// folder is the disk of a volume.
type folder struct{ *inventory.CacheFolder }

func (f folder) Create(ctx context.Context, size int64) (file, error) {
	return f.CacheFolder.Create(ctx, size)
}
