package inventory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory/disk"
	"github.com/ooseio/oose/record"
)

// Verification is what reading a clone again has shown.
type Verification struct {
	Expected   string `json:"expectedHash"`
	Actual     string `json:"actualHash"` // "" where the digest could not be formed
	OK         bool   `json:"ok"`
	Skipped    bool   `json:"verifySkipped"` // verified recently enough, nothing was read
	VerifiedAt int64  `json:"verifiedAt"`    // milliseconds since 1970
}

// Verify reads a clone and compares its digest; without force not where that
// was done within the configured time and the file is as recorded. A clone
// that fails is moved to quarantine, and its record is taken back. Errors:
// ErrNotExist, ErrChanged where the file is being written, ErrOffline,
// ErrSuspect.
func (v *Volume) Verify(ctx context.Context, h content.Hash, force bool) (Verification, error) {
	release, ok := v.Acquire()
	if !ok {
		return Verification{}, v.fail("verifying", ErrOffline)
	}
	defer release()
	result, err := v.verify(ctx, h, force, nil)
	if err != nil {
		return Verification{}, v.fail("verifying "+h.String(), err)
	}
	return result, nil
}

func (v *Volume) verify(ctx context.Context, h content.Hash, force bool, onRead func(int)) (Verification, error) {
	c, have, err := v.lookup(ctx, h)
	if err != nil {
		return Verification{}, err
	}
	if !have {
		return Verification{}, ErrNotExist
	}
	if !force && c.Verified > 0 && v.since(c.Verified) < v.cfg.Load().VerifyEvery {
		same, err := v.asRecorded(ctx, c)
		if err != nil {
			return Verification{}, err
		}
		if same {
			return Verification{Expected: h.String(), Actual: h.String(), OK: true, Skipped: true, VerifiedAt: c.Verified}, nil
		}
	}
	result, _, err := v.check(ctx, c, onRead)
	return result, err
}

// asRecorded tells whether a clone's file is there with the size and time that
// are recorded. Unlike opening it, this leaves one that is not to the caller.
func (v *Volume) asRecorded(ctx context.Context, c Clone) (bool, error) {
	root, err := v.taken()
	if err != nil {
		return false, err
	}
	o, err := v.openFile(ctx, v.back, root, disk.ClonePath(c.Hash, c.Ext, c.Deep))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return o.info.Size == c.Size && o.info.Mtime == c.Mtime, o.file.Close()
}

// finding is what a file turned out to be.
type finding uint8

const (
	sound     finding = iota // and recorded
	wrong                    // quarantined, not recorded any more
	dropped                  // removed: a removal concerns it
	duplicate                // sound, but the record names another file that is there
)

// check reads the file that c names, whether there is a record of it or not,
// and settles what that shows. onRead is told of bytes read; it may be nil.
func (v *Volume) check(ctx context.Context, c Clone, onRead func(int)) (Verification, finding, error) {
	root, err := v.taken()
	if err != nil {
		return Verification{}, 0, err
	}
	rel := disk.ClonePath(c.Hash, c.Ext, c.Deep)
	got, info, err := v.digest(ctx, root, rel, c.Hash.Type(), onRead)
	result := Verification{Expected: c.Hash.String(), Actual: got.String(), OK: err == nil && got == c.Hash, VerifiedAt: v.clock.Wall().UnixMilli()}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return result, 0, errors.Join(ErrNotExist, v.vanished(ctx, c))
	case err != nil && !errors.Is(err, ErrCollision) && !v.unreadable(ctx, root, rel, err):
		return result, 0, err
	}
	lock, err := v.hold(ctx, c.Hash, v.tune.sync)
	if err != nil {
		return result, 0, err
	}
	defer lock.release()
	now, err := held(ctx, lock, v.back, v.tune.open, func() (disk.Info, error) { return root.Stat(rel) })
	switch {
	case errors.Is(err, fs.ErrNotExist) && !result.OK:
		return result, wrong, nil // another verification has taken it away meanwhile
	case errors.Is(err, fs.ErrNotExist):
		return result, 0, ErrNotExist
	case err != nil:
		return result, 0, v.judge(err)
	case now != info && info != (disk.Info{}): // none: it could not even be opened
		return result, 0, ErrChanged
	}
	old, have, err := v.lookup(ctx, c.Hash)
	if err != nil {
		return result, 0, err
	}
	f, err := v.settle(context.WithoutCancel(ctx), lock, root, c, old, have, result, info)
	return result, f, err
}

// settle acts on a verification, under the hash's lock.
func (v *Volume) settle(ctx context.Context, lock *hashLock, root *disk.Root, c, old Clone, have bool, result Verification, info disk.Info) (finding, error) {
	rel := disk.ClonePath(c.Hash, c.Ext, c.Deep)
	recorded := have && disk.ClonePath(old.Hash, old.Ext, old.Deep) == rel
	if !result.OK {
		what := "clone has another digest than its name, it goes to quarantine"
		if result.Actual == "" {
			what = "clone can't be read, or is part of an attack, it goes to quarantine"
		}
		v.log.Error(what, zap.Stringer("hash", c.Hash), zap.String("actual", result.Actual), zap.String("file", rel))
		_, err := held(ctx, lock, v.writes, v.tune.sync, func() (struct{}, error) { return struct{}{}, v.quarantine(root, rel) })
		if err != nil {
			v.log.Error("moving a clone to quarantine", zap.String("file", rel), zap.Error(v.judge(err)))
		}
		if recorded {
			// Also where it could not be moved: it must not be served.
			err = v.lose(ctx, old)
		}
		return wrong, err
	}
	if have && !recorded {
		there, err := held(ctx, lock, v.back, v.tune.open, func() (disk.Info, error) {
			return root.Stat(disk.ClonePath(old.Hash, old.Ext, old.Deep))
		})
		switch {
		case err == nil && there.Size == old.Size && there.Mtime == old.Mtime:
			return duplicate, nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return 0, v.judge(err) // nothing is known of that file, and the lock may be lost
		}
	}
	if !have {
		removed, err := removedAt(ctx, v.engine, c.Hash.String())
		if err != nil {
			return 0, err
		}
		if keptSince(info) <= removed {
			return dropped, v.unlink(ctx, lock, root, rel)
		}
		old = Clone{Hash: c.Hash, Store: root.Marker().ID, Stored: result.VerifiedAt, Kept: keptSince(info)}
	}
	size := old.Size
	old.Ext, old.Deep, old.Size, old.Mtime, old.Verified = c.Ext, c.Deep, info.Size, info.Mtime, result.VerifiedAt
	return sound, v.write(ctx, old, Clone{Size: size}, have)
}

// keptSince is the kept time of a file without a record: when it came to lie
// where it does. A removal later than that concerns it.
func keptSince(info disk.Info) record.Time {
	return record.TimeOf(time.Unix(0, max(info.Ctime, 0)))
}

// digest reads a file to its end. Where the digest can't be formed because of
// an attack, the error is ErrCollision.
func (v *Volume) digest(ctx context.Context, root *disk.Root, rel string, t content.Type, onRead func(int)) (content.Hash, disk.Info, error) {
	o, err := v.openFile(ctx, v.back, root, rel)
	if err != nil {
		return content.Hash{}, disk.Info{}, err
	}
	defer o.file.Close()
	once := disk.ReadOnce(o.file)
	digest := NewHash(t)
	var offset int64
	for {
		buf := buffers.Get().(*[]byte)
		n, err := through(ctx, v.back, v.tune.read, func() (int, error) {
			n, err := readBlock(v, o.file, rel, *buf)
			once.Passed(offset+int64(n), err != nil)
			return n, err
		}, nil)
		if errors.Is(err, errNoAnswer) || ctx.Err() != nil {
			// The buffer may still be written to.
			return content.Hash{}, o.info, v.judge(errors.Join(err, ctx.Err()))
		}
		digest.Write((*buf)[:n])
		buffers.Put(buf)
		offset += int64(n)
		if onRead != nil {
			onRead(n)
		}
		if err == io.EOF {
			got, err := SumOf(t, digest)
			return got, o.info, err
		}
		if err != nil {
			return content.Hash{}, o.info, v.judge(&readError{offset, err})
		}
	}
}

func readBlock(v *Volume, f *os.File, rel string, buf []byte) (int, error) {
	if err := v.inject("read", rel); err != nil {
		return 0, err
	}
	return f.Read(buf)
}

// quarantine moves a file out of the content, keeping it for the operator.
func (v *Volume) quarantine(root *disk.Root, rel string) error {
	h, ext, _, ok := disk.ParsePath(rel)
	if !ok {
		return fmt.Errorf("%s: not a clone's path", rel)
	}
	to := fmt.Sprintf("%s/%s.%s.%d", disk.Quarantine, h, ext, v.clock.Wall().UnixMilli())
	if err := root.Enter(rel, to); err != nil {
		return err
	}
	return errors.Join(root.SyncDir(disk.Quarantine), root.SyncDir(disk.DirOf(rel)))
}

// vanished takes the record of a clone back whose file is not there any more.
func (v *Volume) vanished(ctx context.Context, c Clone) error {
	_, err := v.takeBack(ctx, c)
	return err
}

// takeBack tells whether it took the record back: not where the record has
// changed since c was read, or the file is there after all.
func (v *Volume) takeBack(ctx context.Context, c Clone) (bool, error) {
	root, err := v.taken()
	if err != nil {
		return false, err
	}
	lock, err := v.hold(ctx, c.Hash, v.tune.sync)
	if err != nil {
		return false, err
	}
	defer lock.release()
	now, have, err := v.lookup(ctx, c.Hash)
	if err == nil && !have && c.Ext == "" {
		return true, v.unrecord(context.WithoutCancel(ctx), c) // it still can't be read
	}
	if err != nil || !have || now != c {
		return false, err
	}
	_, err = held(ctx, lock, v.back, v.tune.open, func() (disk.Info, error) {
		info, err := root.Stat(disk.ClonePath(c.Hash, c.Ext, c.Deep))
		if errors.Is(err, fs.ErrNotExist) {
			if gone := root.Present(false); gone != nil {
				return info, fmt.Errorf("%w: the root is gone: %v", ErrOffline, gone)
			}
		}
		return info, err
	})
	if !errors.Is(err, fs.ErrNotExist) {
		return false, v.judge(err)
	}
	return true, v.lose(context.WithoutCancel(ctx), c)
}

// lose takes the record of a clone back that is no good any more, whose hash is
// locked, and tells.
func (v *Volume) lose(ctx context.Context, c Clone) error {
	if err := v.unrecord(ctx, c); err != nil {
		return err
	}
	if bad := v.cfg.Load().Bad; bad != nil {
		bad(c.Hash)
	}
	return nil
}
