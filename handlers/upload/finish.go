package upload

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
)

const (
	// commitBase and commitRate bound how long a commit may take: this long,
	// and a second for every so many bytes.
	commitBase = time.Minute
	commitRate = 50 << 20
)

// sum returns the digest of all that was fed.
func (p *pump) sum() (content.Hash, error) {
	return inventory.SumOf(p.typ, p.digest.sink.(digestSink).Hash)
}

// finish makes clones durable until there are as many as are wanted: those
// that are there already are renewed, then the writers commit, then what is
// missing is copied. It goes on where the client has gone: the content is
// whole.
func (u *Uploader) finish(ctx context.Context, req *Request, p *pump, h content.Hash) ([]inventory.Clone, error) {
	ctx = context.WithoutCancel(ctx)
	placement, err := u.index.Find(ctx, h)
	if err != nil {
		return nil, err
	}
	if placement.Blocked {
		return nil, inventory.ErrBlocked
	}
	held := map[string]bool{}
	for _, c := range placement.Clones {
		held[c.Store] = true
	}
	clones := u.renew(ctx, req, p, h, held)
	for _, batch := range p.byHolding(held) {
		for len(clones) < req.Copies && len(batch) > 0 {
			n := min(req.Copies-len(clones), len(batch))
			clones = append(clones, p.commit(ctx, batch[:n], h, req.Ext)...)
			batch = batch[n:]
		}
	}
	if len(clones) == 0 {
		return nil, p.failure()
	}
	return u.complete(ctx, req, p, h, clones), nil
}

// renew has the stores that hold the content already, and were not chosen for
// the upload, check and keep it.
func (u *Uploader) renew(ctx context.Context, req *Request, p *pump, h content.Hash, held map[string]bool) []inventory.Clone {
	chosen := map[string]bool{}
	for _, w := range p.alive() {
		chosen[w.store.Target().ID] = true
	}
	var clones []inventory.Clone
	for _, s := range req.Stores {
		id := s.Target().ID
		if len(clones) == req.Copies || !held[id] || chosen[id] || !s.Readable() {
			continue
		}
		c, ok, err := s.Renew(ctx, h)
		if err != nil {
			u.log.Warn("clone of an upload is not renewed", zap.String("store", id), zap.Stringer("hash", h), zap.Error(err))
		} else if ok {
			clones = append(clones, c)
		}
	}
	return clones
}

// byHolding parts the writers that are alive: first those whose stores hold
// the content already, then the others.
func (p *pump) byHolding(held map[string]bool) [2][]*writer {
	var parts [2][]*writer
	for _, w := range p.alive() {
		i := 1
		if held[w.store.Target().ID] {
			i = 0
		}
		parts[i] = append(parts[i], w)
	}
	return parts
}

// commit has writers make their clones durable, all at the same time, and
// returns the clones of those that did in time.
func (p *pump) commit(ctx context.Context, writers []*writer, h content.Hash, ext string) []inventory.Clone {
	ctx, cancel := context.WithTimeout(ctx, commitTime(p.size))
	defer cancel()
	for _, w := range writers {
		w.decide(verdict{commit: true, ctx: ctx, hash: h, ext: ext})
	}
	var clones []inventory.Clone
	for _, w := range writers {
		select {
		case <-w.done:
		case <-ctx.Done():
			p.leaveCommit(w)
		}
		clone, err := w.outcome()
		if err != nil {
			p.u.log.Warn("store did not keep an upload", zap.String("store", w.store.Target().ID), zap.Stringer("hash", h), zap.Error(err))
			continue
		}
		clones = append(clones, clone)
	}
	return clones
}

// leaveCommit goes on without a writer whose time is over, unless it has done
// its work meanwhile: another one may have used the time up.
func (p *pump) leaveCommit(w *writer) {
	select {
	case <-w.done:
	default:
		w.fail(ErrStalled)
		w.left.Store(true)
		w.interrupt(ErrStalled)
	}
}

func commitTime(size int64) time.Duration {
	return commitBase + time.Duration(size/commitRate)*time.Second
}

// complete copies a finished clone to further stores until there are as many
// as are wanted, or no store is left. What is missing then is repaired later.
func (u *Uploader) complete(ctx context.Context, req *Request, p *pump, h content.Hash, clones []inventory.Clone) []inventory.Clone {
	for _, w := range p.writers {
		if !w.alive() {
			p.avoid(w.store)
		}
	}
	for len(clones) < req.Copies && len(p.ranking) > 0 {
		store := p.next()
		if hasClone(clones, store.Target().ID) {
			continue
		}
		c, err := u.copy(ctx, req, clones, store, h)
		if err != nil {
			p.avoid(store)
			u.log.Warn("clone of an upload was not copied", zap.String("store", store.Target().ID), zap.Stringer("hash", h), zap.Error(err))
			continue
		}
		clones = append(clones, c)
	}
	return clones
}

func hasClone(clones []inventory.Clone, store string) bool {
	for _, c := range clones {
		if c.Store == store {
			return true
		}
	}
	return false
}

// copy makes a clone in a store from one that is finished, and checks it.
func (u *Uploader) copy(ctx context.Context, req *Request, clones []inventory.Clone, to Store, h content.Hash) (inventory.Clone, error) {
	var failures []error
	for _, c := range clones {
		from := storeOf(req.Stores, c.Store)
		if from == nil {
			continue
		}
		body, err := from.Open(ctx, c)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		part := Request{
			Body: body, Size: c.Size, Type: h.Type(), Want: h, Ext: req.Ext, Copies: 1, Stores: []Store{to},
		}
		result, err := u.Upload(ctx, part)
		_ = body.Close() // it was only read
		if err != nil {
			failures = append(failures, err)
			continue
		}
		return result.Clones[0], nil
	}
	return inventory.Clone{}, fmt.Errorf("copying to store %s: %w", to.Target().ID, errors.Join(failures...))
}

func storeOf(stores []Store, id string) Store {
	for _, s := range stores {
		if s.Target().ID == id {
			return s
		}
	}
	return nil
}
