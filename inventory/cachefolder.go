package inventory

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/inventory/disk"
)

// CacheFolder is where a store keeps copies that are no clones. A name is a
// pair of hex digits, a slash and more. Its methods return within the deadlines
// of the store's disk, and what they find of the disk decides about the store.
type CacheFolder struct{ v *Volume }

// CacheFolder returns the volume's folder of copies.
func (v *Volume) CacheFolder() *CacheFolder { return &CacheFolder{v} }

// roomShare is the part of a file system that copies leave free besides the
// reserve, so that they are out of the way of new clones.
const roomShare = 64

// Medium tells which medium is there: another number each time the root is
// taken, 0 while it can't be used.
func (f *CacheFolder) Medium() uint64 {
	if !f.v.Readable() {
		return 0
	}
	return f.v.media.Load()
}

// Room returns how many bytes copies may still take, less than none where they
// have taken too much.
func (f *CacheFolder) Room(ctx context.Context) (int64, error) {
	v := f.v
	root, err := v.taken()
	if err != nil {
		return 0, v.fail("looking for room", err)
	}
	space, err := through(ctx, v.back, v.tune.open, root.Space, nil)
	if err != nil {
		return 0, v.fail("looking for room", v.judge(err))
	}
	return space.Free - v.cfg.Load().Reserve - space.Total/roomShare, nil
}

// OnShort has f called when a clone finds no room: it makes that many bytes
// free if it can, and tells whether it did anything. nil: nobody does.
func (f *CacheFolder) OnShort(give func(bytes int64) bool) { f.v.giver.Store(&give) }

// Open opens a copy and tells its size.
func (f *CacheFolder) Open(ctx context.Context, name string) (*os.File, int64, error) {
	root, err := f.v.taken()
	if err != nil {
		return nil, 0, f.v.fail("opening a copy", err)
	}
	o, err := f.v.openFile(ctx, f.v.reads, root, disk.Cache+"/"+name)
	if err != nil {
		return nil, 0, f.v.fail("opening a copy", err)
	}
	return o.file, o.info.Size, nil
}

// Remove removes a copy; that there is none is no error.
func (f *CacheFolder) Remove(ctx context.Context, name string) error {
	return f.change(ctx, "removing a copy", func(root *disk.Root) error { return root.Remove(disk.Cache + "/" + name) })
}

// Touch notes when a copy was last used.
func (f *CacheFolder) Touch(ctx context.Context, name string, at time.Time) error {
	return f.change(ctx, "touching a copy", func(root *disk.Root) error { return root.Touch(disk.Cache+"/"+name, at) })
}

func (f *CacheFolder) change(ctx context.Context, doing string, run func(*disk.Root) error) error {
	root, err := f.v.taken()
	if err != nil {
		return f.v.fail(doing, err)
	}
	err = do(ctx, f.v.back, f.v.tune.open, func() error { return run(root) }, nil)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return f.v.fail(doing, f.v.judge(err))
}

// List calls each with every file of the folder, which may be anything.
func (f *CacheFolder) List(ctx context.Context, each func(name string, size int64, used time.Time)) error {
	type file struct {
		name string
		info disk.Info
	}
	v := f.v
	root, err := v.taken()
	for i := 0; i < 256 && err == nil; i++ {
		pair := fmt.Sprintf("%02x", i)
		var found []file
		found, err = through(ctx, v.back, v.tune.list, func() ([]file, error) {
			var list []file
			err := root.Files(disk.Cache+"/"+pair, func(name string, info disk.Info) { list = append(list, file{name, info}) })
			return list, err
		}, nil)
		err = v.judge(err)
		for _, one := range found {
			each(pair+"/"+one.name, one.info.Size, time.Unix(0, one.info.Mtime))
		}
	}
	if err != nil {
		return v.fail("listing copies", err)
	}
	return nil
}

// CacheFile is a copy that is being written: a temporary file until Keep. One
// goroutine writes, others may read.
type CacheFile struct {
	v       *Volume
	root    *disk.Root
	file    *os.File
	rel     string
	written int64
	release func()
	closed  sync.Once
}

// Create makes a temporary file and reserves its room, which the caller has
// seen to. Errors: those of Volume.Create.
func (f *CacheFolder) Create(ctx context.Context, size int64) (*CacheFile, error) {
	v := f.v
	release, ok := v.acquireOwn()
	if !ok {
		return nil, v.fail("making a copy", ErrOffline)
	}
	c, err := v.createCopy(ctx, size)
	if err != nil {
		release()
		return nil, v.fail("making a copy", err)
	}
	c.release = release
	return c, nil
}

func (v *Volume) createCopy(ctx context.Context, size int64) (*CacheFile, error) {
	if err := v.condition.refusal(); err != nil {
		return nil, err
	}
	root, err := v.taken()
	if err != nil {
		return nil, err
	}
	c := &CacheFile{v: v, root: root, rel: disk.TempPath(rand.Text())}
	c.file, err = through(ctx, v.back, v.tune.open+atRate(size, reserveRate), func() (*os.File, error) {
		return v.createFile(root, c.rel, size)
	}, func(late *os.File, _ error) {
		if late != nil {
			late.Close()
			_ = root.Remove(c.rel)
		}
	})
	return c, v.judge(err)
}

// ReadAt is io.ReaderAt's.
func (c *CacheFile) ReadAt(p []byte, offset int64) (int, error) { return c.file.ReadAt(p, offset) }

// WriteAt is io.WriterAt's. It may block as long as the disk does.
func (c *CacheFile) WriteAt(p []byte, offset int64) (int, error) {
	err := c.v.inject("copy", c.rel)
	n := 0
	if err == nil {
		n, err = c.file.WriteAt(p, offset)
	}
	if err != nil {
		return n, c.v.fail("writing a copy", c.v.judge(err))
	}
	before := c.written
	c.written += int64(n)
	if from := before / writebackLen; c.written/writebackLen > from {
		disk.StartWriteback(c.file, from*writebackLen, c.written-from*writebackLen)
	}
	return n, nil
}

// Keep makes what was written durable and gives it its name. Where a crash
// takes the name away, nothing but the copy is lost.
func (c *CacheFile) Keep(ctx context.Context, name string) error {
	to := disk.Cache + "/" + name
	err := do(ctx, c.v.back, c.v.tune.sync+atRate(c.written, syncRate), func() error {
		if err := c.root.Sync(c.file); err != nil {
			return err
		}
		if err := c.root.MakeDir(path.Dir(to)); err != nil {
			return err
		}
		return c.root.Rename(c.rel, to)
	}, nil)
	if err != nil {
		return c.v.fail("keeping a copy", c.v.judge(err))
	}
	return nil
}

// Close gives the file back, and removes it where it was not kept.
func (c *CacheFile) Close() error {
	var err error
	c.closed.Do(func() {
		defer c.release()
		err = do(context.Background(), c.v.back, c.v.tune.open, func() error {
			err := c.file.Close()
			if removed := c.root.Remove(c.rel); !errors.Is(removed, fs.ErrNotExist) {
				err = errors.Join(err, removed)
			}
			return err
		}, nil)
		if err != nil {
			err = c.v.fail("closing a copy", c.v.judge(err))
			c.v.log.Warn("removing a temporary file", zap.String("file", c.rel), zap.Error(err))
		}
	})
	return err
}
