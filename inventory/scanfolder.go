package inventory

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory/disk"
	"github.com/ooseio/oose/record"
)

// recorded is one record of the store; its clone has no extension where the
// record can't be read.
type recorded struct {
	key    string
	clone  Clone
	source string // whose word it is
}

// cursor goes over the store's records whose keys begin with a prefix, in
// order and a page at a time, so that no read of the engine stays open while
// files are hashed.
type cursor struct {
	v      *Volume
	prefix string
	after  string
	page   []recorded
	ended  bool
}

// peek returns the next record without passing it.
func (c *cursor) peek(ctx context.Context) (recorded, bool, error) {
	if len(c.page) == 0 && !c.ended {
		if err := c.fill(ctx); err != nil {
			return recorded{}, false, err
		}
	}
	if len(c.page) == 0 {
		return recorded{}, false, nil
	}
	return c.page[0], true, nil
}

func (c *cursor) pass() { c.page = c.page[1:] }

func (c *cursor) fill(ctx context.Context) error {
	c.page = make([]recorded, 0, 64)
	for r, err := range members(ctx, c.v.engine, c.v.whose(), c.v.ID(), c.after) {
		if err != nil {
			return err
		}
		if !strings.HasPrefix(r.Key, c.prefix) {
			break
		}
		c.after = r.Key
		h, err := content.ParseHash(r.Key)
		if err != nil {
			continue // no file can have that name
		}
		clone, err := decodeCloneOf(h, r)
		if err != nil {
			clone = Clone{Hash: h, Store: r.Member}
		}
		if c.page = append(c.page, recorded{r.Key, clone, r.Source}); len(c.page) == pageLen {
			return nil
		}
	}
	c.ended = true
	return ctx.Err()
}

// folder compares content/<ab> with the records that begin so: both come in
// the order of hashes and are merged, one folder and one page at a time.
func (s *scan) folder(ctx context.Context, ab string) error {
	if s.v.disk.Load() != s.root {
		return ErrOffline // what lies under its path now is another medium's
	}
	names, foreign, err := s.pairs(ctx, ab)
	if err != nil {
		return s.unreadable(ctx, disk.Content+"/"+ab, err)
	}
	s.foreign.Add(int64(foreign))
	records := &cursor{v: s.v, prefix: ab, after: ab}
	for _, cd := range names {
		if err := s.before(ctx, records, ab+cd); err != nil {
			return err
		}
		listing, err := through(ctx, s.v.back, s.v.tune.list, func() (disk.Listing, error) { return s.root.Collect(ab, cd) }, nil)
		if err != nil {
			if err := s.unreadable(ctx, disk.Content+"/"+ab+"/"+cd, s.v.judge(err)); err != nil {
				return err
			}
			// Nothing is known of its files, so its records stay.
			if err := s.skip(ctx, records, ab+cd); err != nil {
				return err
			}
			continue
		}
		s.foreign.Add(int64(listing.Foreign))
		if err := s.merge(ctx, records, ab+cd, listing.Found); err != nil {
			return err
		}
		s.progress(false)
	}
	return s.before(ctx, records, "g") // behind every hex digit: all that are left
}

// merge compares one folder's files with its records.
func (s *scan) merge(ctx context.Context, records *cursor, prefix string, found []disk.Found) error {
	slices.SortFunc(found, func(a, b disk.Found) int {
		return cmp.Or(strings.Compare(a.Key, b.Key), strings.Compare(a.Ext, b.Ext))
	})
	for len(found) > 0 {
		n := 1
		for n < len(found) && found[n].Key == found[0].Key {
			n++
		}
		same := found[:n]
		found = found[n:]
		for _, f := range same {
			s.files.Add(1)
			s.size.Add(f.Info.Size)
		}
		if err := s.before(ctx, records, same[0].Key); err != nil {
			return err
		}
		r, ok, err := records.peek(ctx)
		if err != nil {
			return err
		}
		if ok && r.key == same[0].Key {
			records.pass()
		} else {
			r = recorded{}
		}
		if err := s.compare(ctx, same, r); err != nil {
			return err
		}
	}
	return s.before(ctx, records, prefix+"g")
}

// before takes back the records that come before a key, for which no file was
// met.
func (s *scan) before(ctx context.Context, records *cursor, key string) error {
	for {
		r, ok, err := records.peek(ctx)
		if err != nil || !ok || r.key >= key {
			return err
		}
		records.pass()
		s.takeBack(ctx, r.clone)
	}
}

// takeBack takes a record back whose file is not there, in its turn.
func (s *scan) takeBack(ctx context.Context, c Clone) {
	s.updates.Go(func() error {
		done, err := s.v.takeBack(ctx, c)
		if done {
			s.vanished.Add(1)
		}
		return s.outcome(ctx, disk.ClonePath(c.Hash, c.Ext, c.Deep), err)
	})
}

// skip passes the records that begin with a prefix.
func (s *scan) skip(ctx context.Context, records *cursor, prefix string) error {
	for {
		r, ok, err := records.peek(ctx)
		if err != nil || !ok || !strings.HasPrefix(r.key, prefix) {
			return err
		}
		records.pass()
	}
}

// compare judges the files of one content against its record.
func (s *scan) compare(ctx context.Context, same []disk.Found, r recorded) error {
	c, have := r.clone, r.key != ""
	chosen, matched := 0, false
	for i, f := range same {
		if have && f.Ext == c.Ext && f.Deep == c.Deep {
			chosen, matched = i, true
			if f.Info.Size == c.Size && f.Info.Mtime == c.Mtime {
				if c.Verified == 0 {
					s.unread.Store(true)
				}
				if s.source != "" && r.source != s.source {
					s.rewriteLater(ctx, c)
				}
				s.doubles.Add(int64(len(same) - 1))
				return nil
			}
		}
	}
	s.doubles.Add(int64(len(same) - 1))
	f := same[chosen]
	h, err := content.ParseHash(f.Key)
	if err != nil {
		return err
	}
	file := Clone{Hash: h, Ext: f.Ext, Deep: f.Deep}
	if s.opts.Trust && !have {
		s.updates.Go(func() error { return s.outcome(ctx, f.Key, s.trust(ctx, file, f.Info)) })
		return nil
	}
	_, finding, err := s.v.check(ctx, file, func(n int) {
		s.read.Add(int64(n))
		s.progress(false)
	})
	if err != nil {
		return s.outcome(ctx, f.Key, err)
	}
	s.hashed.Add(1)
	switch {
	case finding == wrong:
		s.failed.Add(1)
		if have && !matched {
			s.takeBack(ctx, c) // it named yet another file
		}
	case finding == dropped:
		s.dropped.Add(1)
	case finding == duplicate:
		s.doubles.Add(1)
	case have:
		s.changed.Add(1)
	default:
		s.appeared.Add(1)
	}
	return nil
}

// trust records a file unread.
func (s *scan) trust(ctx context.Context, c Clone, info disk.Info) error {
	v := s.v
	lock, err := v.hold(ctx, c.Hash, v.tune.sync)
	if err != nil {
		return err
	}
	defer lock.release()
	_, have, err := v.lookup(ctx, c.Hash)
	if err != nil || have {
		return err
	}
	removed, err := removedAt(ctx, v.engine, c.Hash.String())
	if err != nil {
		return err
	}
	if keptSince(info) <= removed {
		s.dropped.Add(1)
		return v.unlink(ctx, lock, s.root, disk.ClonePath(c.Hash, c.Ext, c.Deep))
	}
	c.Store, c.Size, c.Mtime, c.Stored, c.Kept = v.ID(), info.Size, info.Mtime, v.clock.Wall().UnixMilli(), keptSince(info)
	if err := v.write(context.WithoutCancel(ctx), c, Clone{}, false); err != nil {
		return err
	}
	s.unread.Store(true)
	s.appeared.Add(1)
	return nil
}

// outcome decides whether an error ends the scan: what concerns one file or
// folder does not.
func (s *scan) outcome(ctx context.Context, what string, err error) error {
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist) && ctx.Err() == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, ErrOffline), errors.Is(err, record.ErrUnavailable):
		return err
	}
	s.errors.Add(1)
	s.v.log.Warn("could not be judged by the scan", zap.String("file", what), zap.Error(err))
	return nil
}

func (s *scan) unreadable(ctx context.Context, folder string, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		s.unwritten.Add(1)
	}
	return s.outcome(ctx, folder, err)
}
