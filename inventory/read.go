package inventory

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory/disk"
)

// opened is what opening a file has come to.
type opened struct {
	file *os.File
	info disk.Info
}

// Open returns a clone's file, at its beginning; the caller closes it. It costs
// one open and one stat. A file that is not as recorded is refused and verified
// in the background. Errors: ErrNotExist, ErrChanged, ErrOffline, ErrSuspect.
func (v *Volume) Open(ctx context.Context, c Clone) (*os.File, error) {
	f, err := v.openClone(ctx, v.reads, c)
	if err != nil {
		return nil, v.fail("opening "+c.Hash.String(), err)
	}
	return f, nil
}

func (v *Volume) openClone(ctx context.Context, g *gate, c Clone) (*os.File, error) {
	root, err := v.taken()
	if err != nil {
		return nil, err
	}
	if e, err := content.ParseExt(c.Ext); err != nil || e != c.Ext || c.Hash.IsZero() {
		return nil, content.ErrInvalidExt
	}
	o, err := v.openFile(ctx, g, root, disk.ClonePath(c.Hash, c.Ext, c.Deep))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		v.changed.add(c.Hash)
		return nil, ErrNotExist
	case errors.Is(err, ErrSuspect):
		v.changed.add(c.Hash)
		return nil, err
	case err != nil:
		return nil, err
	case o.info.Size != c.Size || o.info.Mtime != c.Mtime:
		v.changed.add(c.Hash)
		return nil, errors.Join(ErrChanged, o.file.Close())
	}
	return o.file, nil
}

// openFile opens one file with the deadline of the volume's disk.
func (v *Volume) openFile(ctx context.Context, g *gate, root *disk.Root, rel string) (opened, error) {
	o, err := through(ctx, g, v.tune.open, func() (opened, error) {
		f, info, err := root.Open(rel)
		return opened{f, info}, err
	}, func(late opened, _ error) {
		if late.file != nil {
			late.file.Close()
		}
	})
	return o, v.judge(err)
}

// Has tells whether the store holds a content: there is a record, and its file
// is as recorded. A clone that a removal concerns is none. One that is found
// missing or changed is looked after in the background.
func (v *Volume) Has(ctx context.Context, h content.Hash) (Clone, bool, error) {
	c, have, err := v.lookup(ctx, h)
	if err != nil {
		return Clone{}, false, v.fail("looking up "+h.String(), err)
	}
	if !have {
		return Clone{}, false, nil
	}
	removed, err := removedAt(ctx, v.engine, h.String())
	if err != nil {
		return Clone{}, false, v.fail("looking up "+h.String(), err)
	}
	if removed > 0 && c.Kept <= removed {
		return Clone{}, false, nil
	}
	f, err := v.openClone(ctx, v.reads, c)
	switch {
	case errors.Is(err, ErrNotExist), errors.Is(err, ErrChanged):
		return Clone{}, false, nil
	case err != nil:
		return Clone{}, false, v.fail("looking up "+h.String(), err)
	}
	return c, true, f.Close()
}
