package upload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"go.uber.org/zap"

	"github.com/ooseio/oose/inventory"
)

// start chooses stores and opens a sink in each. It fails where none can take
// the upload.
func (u *Uploader) start(ctx context.Context, req *Request) (*pump, error) {
	ranking, err := u.rank(ctx, req)
	if err != nil {
		return nil, err
	}
	p := u.newPump(req.Copies)
	p.typ, p.ranking = req.Type, ranking
	p.digest = p.newWriter(nil, digestSink{inventory.NewHash(req.Type)})
	if !u.spawn(p.digest) {
		p.digest = nil
		p.end()
		return nil, ErrClosed
	}
	var failures []error
	for len(p.writers) < req.Copies && len(p.ranking) > 0 {
		store := p.next()
		if err := p.open(ctx, store, req.Size); err != nil {
			failures = append(failures, err)
			p.avoid(store)
			u.log.Warn("store takes no clone of an upload", zap.String("store", store.Target().ID), zap.Error(err))
		}
	}
	if len(p.writers) == 0 {
		p.end()
		return nil, whyNone(failures)
	}
	return p, nil
}

// open begins a clone in a store.
func (p *pump) open(ctx context.Context, store Store, size int64) error {
	sink, err := store.Create(ctx, size, p.typ)
	if err != nil {
		return err
	}
	w := p.newWriter(store, sink)
	if !p.u.spawn(w) {
		sink.Abort()
		return ErrClosed
	}
	p.writers = append(p.writers, w)
	return nil
}

// next takes the best store that was not tried yet.
func (p *pump) next() Store {
	store := p.ranking[0]
	p.ranking = p.ranking[1:]
	return store
}

// avoid puts the candidates of a store's node behind all others: what failed
// there may fail again.
func (p *pump) avoid(store Store) {
	node := store.Target().Node
	slices.SortStableFunc(p.ranking, func(a, b Store) int {
		return cmp.Compare(at(a, node), at(b, node))
	})
}

func at(s Store, node string) int {
	if s.Target().Node == node {
		return 1
	}
	return 0
}

// rank puts the stores that would take the upload in order: those that hold
// the announced content before others, so that it is not made more often than
// is wanted, then by placement.
func (u *Uploader) rank(ctx context.Context, req *Request) ([]Store, error) {
	byID := map[string]Store{}
	var targets []inventory.Target
	for _, s := range req.Stores {
		if t := s.Target(); s.Writable() && t.Free >= max(req.Size, 1) {
			byID[t.ID] = s
			targets = append(targets, t)
		}
	}
	if len(targets) == 0 {
		return nil, refusal(ctx, req)
	}
	held := map[string]bool{}
	if !req.Want.IsZero() {
		placement, err := u.index.Find(ctx, req.Want)
		if err != nil {
			return nil, err
		}
		for _, c := range placement.Clones {
			held[c.Store] = true
		}
	}
	rnd := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	var holders, others []Store
	for _, t := range inventory.Choose(req.Want, len(targets), req.Size, targets, rnd) {
		if held[t.ID] {
			holders = append(holders, byID[t.ID])
		} else {
			others = append(others, byID[t.ID])
		}
	}
	return append(holders, others...), nil
}

// refusal asks every store why it takes no upload.
func refusal(ctx context.Context, req *Request) error {
	var causes []error
	for _, s := range req.Stores {
		if t := s.Target(); s.Writable() && t.Free < max(req.Size, 1) {
			causes = append(causes, fmt.Errorf("store %s: %w", t.ID, inventory.ErrFull))
			continue
		}
		sink, err := s.Create(ctx, req.Size, req.Type)
		if err != nil {
			causes = append(causes, err)
			continue
		}
		sink.Abort() // it has become writable just now
	}
	return whyNone(causes)
}

// whyNone tells why no store takes an upload: a full disk before anything
// else, because it is what somebody can do something about.
func whyNone(causes []error) error {
	var first error
	for _, err := range causes {
		if errors.Is(err, inventory.ErrFull) || errors.Is(err, ErrClosed) {
			return err
		}
		if first == nil {
			first = err
		}
	}
	if first == nil {
		return ErrNoStore
	}
	return fmt.Errorf("%w: %w", ErrNoStore, first)
}
