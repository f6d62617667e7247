package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"time"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory/disk"
	"github.com/ooseio/oose/record"
)

// commit is the second half of the write path. t.mu is held.
func (t *Temp) commit(ctx context.Context, h content.Hash, ext string) (Clone, error) {
	v := t.v
	info, err := through(ctx, v.writes, t.limit(), t.sync, nil)
	if err != nil {
		return Clone{}, v.judge(err)
	}
	lock, err := v.hold(ctx, h, t.limit())
	if err != nil {
		return Clone{}, err
	}
	defer lock.release()
	old, have, err := v.lookup(ctx, h)
	if err != nil {
		return Clone{}, err
	}
	kept, err := t.keep(ctx, h)
	if err != nil {
		return Clone{}, err
	}
	now := v.clock.Wall().UnixMilli()
	fresh := Clone{Hash: h, Store: v.ID(), Ext: ext, Size: info.Size, Mtime: info.Mtime, Stored: now, Verified: now}
	c, err := held(ctx, lock, v.writes, t.limit(), func() (Clone, error) {
		if have {
			return t.replace(fresh, old)
		}
		return fresh, t.place(fresh)
	})
	if err != nil {
		return Clone{}, v.judge(err)
	}
	c.Kept = max(c.Kept, kept)
	if err := v.write(ctx, c, old, have); err != nil {
		return Clone{}, err
	}
	return c, nil
}

// sync makes the temporary file's bytes durable and tells what it is then.
func (t *Temp) sync() (disk.Info, error) {
	if written := t.Size(); t.size > written {
		// Gives back what was reserved and not written.
		if err := t.file.Truncate(written); err != nil {
			return disk.Info{}, err
		}
	}
	if err := t.root.Sync(t.file); err != nil {
		return disk.Info{}, err
	}
	return disk.InfoOf(t.file)
}

// replace decides between a clone that is recorded already and the temporary
// file: the recorded one stays where its file is as recorded.
func (t *Temp) replace(c, old Clone) (Clone, error) {
	f, info, err := t.root.Open(disk.ClonePath(old.Hash, old.Ext, old.Deep))
	if err == nil {
		err = f.Close()
	}
	switch {
	case err == nil && info.Size == old.Size && info.Mtime == old.Mtime:
		return old, nil
	case !errors.Is(err, fs.ErrNotExist):
		// The file takes the old one's place: one content, one file.
		c.Ext, c.Deep = old.Ext, old.Deep
	}
	c.Stored, c.Promised = old.Stored, old.Promised
	return c, t.place(c)
}

// place moves the temporary file to where the clone lies, durably.
func (t *Temp) place(c Clone) error {
	to := disk.ClonePath(c.Hash, c.Ext, c.Deep)
	if err := t.root.Enter(t.rel, to); err != nil {
		return err
	}
	if err := t.root.SyncDir(disk.DirOf(to)); err != nil {
		return errors.Join(err, t.root.Remove(to))
	}
	return nil
}

// keep returns a kept time for a clone whose hash is locked: later than every
// removal of the content that is known here. Its error is ErrBlocked where the
// operator refuses the content.
func (v *Volume) keep(ctx context.Context, h content.Hash) (record.Time, error) {
	refused, err := blocked(ctx, v.engine, h.String())
	if err != nil {
		return 0, err
	}
	if refused {
		return 0, ErrBlocked
	}
	removed, err := removedAt(ctx, v.engine, h.String())
	return max(v.clock.Next(), removed+1), err
}

// lookup returns what is recorded of a content in this store.
func (v *Volume) lookup(ctx context.Context, h content.Hash) (Clone, bool, error) {
	r, have, err := v.lookupRecord(ctx, h)
	if err != nil || !have {
		return Clone{}, false, err
	}
	// A record that can't be read is as good as none, and is written anew.
	c, err := decodeCloneOf(h, r)
	return c, err == nil, nil
}

func (v *Volume) lookupRecord(ctx context.Context, h content.Hash) (record.Record, bool, error) {
	versions, err := v.engine.Get(ctx, record.Inventory, h.String())
	if err != nil {
		return record.Record{}, false, err
	}
	id := v.ID()
	for _, r := range record.Members(record.Inventory, v.whose().counting(versions)) {
		if r.Member == id {
			return r, true, nil
		}
	}
	return record.Record{}, false, nil
}

// write records a clone, whose hash is locked, in the place of an old one.
func (v *Volume) write(ctx context.Context, c, old Clone, have bool) error {
	if err := v.inject("record", c.Hash.String()); err != nil {
		return err
	}
	value, err := json.Marshal(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, engineLimit)
	defer cancel()
	if _, err := v.engine.Update(ctx, record.Inventory, c.Hash.String(), record.Condition{}, record.Change{Member: c.Store, Value: value}); err != nil {
		return err
	}
	if !have {
		v.clones.Add(1)
	}
	v.bytes.Add(c.Size - old.Size)
	v.writesDone.Add(1)
	return nil
}

// unrecord leaves a tombstone for a clone, whose hash is locked.
func (v *Volume) unrecord(ctx context.Context, c Clone) error {
	if err := v.inject("unrecord", c.Hash.String()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, engineLimit)
	defer cancel()
	if _, err := v.engine.Update(ctx, record.Inventory, c.Hash.String(), record.Condition{}, record.Change{Member: c.Store, Delete: true}); err != nil {
		return err
	}
	v.clones.Add(-1)
	v.bytes.Add(-c.Size)
	v.writesDone.Add(1)
	return nil
}

// inject lets tests fail or end the process at steps that are not the disk's.
func (v *Volume) inject(step, rel string) error {
	if v.hook == nil {
		return nil
	}
	return v.hook(step, rel)
}

// since is how long ago a moment in milliseconds since 1970 was.
func (v *Volume) since(milli int64) time.Duration {
	return v.clock.Wall().Sub(time.UnixMilli(milli))
}
