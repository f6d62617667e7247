package inventory

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"github.com/ooseio/oose/inventory/disk"
)

// ErrIncomplete says that a part of the disk could not be read, so that not all
// records could be written anew.
var ErrIncomplete = errors.New("inventory not written completely")

// Lost says that another node has claimed this store: the volume lets go of the
// root, and is offline for that reason until it may take it again, which it
// tries as ever and Claim decides. It waits for a try that is under way.
func (v *Volume) Lost(reason string) {
	if root := v.disk.Load(); root != nil {
		v.log.Warn("store lost", zap.String("reason", reason))
		v.detach(root, reason)
	}
}

// Rewrite writes the records of all clones that others described anew, as this
// engine's own source: it scans the disk, and each clone whose file is as
// recorded gets a version with the same values. What has one already is left
// alone, so that it can be interrupted and called again. When all is written,
// VolumeConfig.Rewritten is told. Run does the same by itself, with every scan
// while Owner does not say that it is done, and when Source has changed.
// Errors: those of Scan and of Rewritten, and ErrIncomplete.
func (v *Volume) Rewrite(ctx context.Context, progress func(ScanProgress)) error {
	_, err := v.scan(ctx, ScanOptions{rewrite: true}, progress, false)
	return err
}

// tenure is that this volume's source has written all there is of a store.
type tenure struct{ id, source string }

// rewriting is under which source a scan writes records of others anew, "" where
// it does not.
func (v *Volume) rewriting(opts ScanOptions) string {
	if v.whose() != nil && !opts.rewrite {
		return "" // it is done
	}
	return v.source()
}

// rewrite gives a clone that another source described, and whose file was just
// seen as that says, a version of this one's.
func (s *scan) rewrite(ctx context.Context, c Clone) error {
	v := s.v
	lock, err := v.hold(ctx, c.Hash, v.tune.sync)
	if err != nil {
		return err
	}
	defer lock.release()
	if v.disk.Load() != s.root {
		return ErrOffline
	}
	r, have, err := v.lookupRecord(ctx, c.Hash)
	if err != nil || !have || r.Source == s.source {
		return err
	}
	now, err := decodeCloneOf(c.Hash, r)
	if err != nil || now != c {
		s.unwritten.Add(1) // it changed meanwhile, and is met by the next scan
		return nil
	}
	if err := v.write(context.WithoutCancel(ctx), c, c, true); err != nil {
		return err
	}
	s.rewritten.Add(1)
	return nil
}

// rewriteLater has a clone's record written anew, together with others.
func (s *scan) rewriteLater(ctx context.Context, c Clone) {
	s.updates.Go(func() error {
		err := s.rewrite(ctx, c)
		if err != nil {
			s.unwritten.Add(1)
		}
		return s.outcome(ctx, disk.ClonePath(c.Hash, c.Ext, c.Deep), err)
	})
}

// told has the word spread that a scan wrote everything anew.
func (v *Volume) told(ctx context.Context, s *scan) error {
	if s.unwritten.Load() > 0 {
		return ErrIncomplete
	}
	if _, whole, _ := v.scans.status(); !whole || v.disk.Load() != s.root || v.source() != s.source {
		return ErrIncomplete // the next scan is of what is there now
	}
	t := &tenure{id: s.root.Marker().ID, source: s.source}
	v.untold.Store(t)
	return v.tellTenure(ctx, t)
}

func (v *Volume) tellTenure(ctx context.Context, t *tenure) error {
	if tell := v.cfg.Load().Rewritten; tell != nil {
		if err := tell(ctx, t.id, t.source); err != nil {
			return err
		}
	}
	v.untold.CompareAndSwap(t, nil)
	return nil
}

// keepTenure has everything written anew when the source has changed, and says
// again what could not be said.
func (v *Volume) keepTenure(ctx context.Context) {
	source := v.source()
	if source == "" {
		return
	}
	if t := v.untold.Load(); t != nil {
		if t.source != source || t.id != v.ID() || v.disk.Load() == nil {
			v.untold.CompareAndSwap(t, nil) // the next scan has more to say
		} else if err := v.tellTenure(ctx, t); err != nil && ctx.Err() == nil {
			v.log.Debug("saying that the inventory is complete; it is tried again", zap.Error(err))
		}
	}
	if last := v.scannedAs.Load(); last != nil && *last != source && v.whose() == nil {
		v.scannedAs.CompareAndSwap(last, nil)
		v.scans.begin()
		v.scans.want()
	}
}
