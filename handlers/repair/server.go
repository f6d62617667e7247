package repair

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/record"
)

// ServeHTTP answers another node.
func (a *Agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	what := strings.TrimPrefix(r.URL.Path, Prefix)
	run, ok := map[string]func(context.Context, content.Hash, question, *atomic.Int64) (result, error){
		"promise": a.servePromise, "copy": a.serveCopy, "drop": a.serveDrop, "doing": a.serveDoing, "now": a.serveNow,
		"verify": func(ctx context.Context, h content.Hash, q question, _ *atomic.Int64) (result, error) {
			return a.serveVerify(ctx, h, q)
		},
	}[what]
	switch {
	case !ok:
		refuse(w, r, http.StatusNotFound, fmt.Errorf("%w: no such path", errMalformed))
		return
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		refuse(w, r, http.StatusMethodNotAllowed, fmt.Errorf("%w: use POST", errMalformed))
		return
	}
	q, err := read(w, r)
	var h content.Hash
	if err == nil && what != "now" {
		h, err = content.ParseHash(q.Hash)
	}
	if err != nil {
		refuse(w, r, http.StatusBadRequest, err)
		return
	}
	done := new(atomic.Int64)
	answer(w, a.tune.Tick, done.Load, func() (result, error) {
		res, err := run(r.Context(), h, q, done)
		if err != nil && r.Context().Err() == nil {
			a.Log.Debug("another node's request failed", zap.String("what", what), zap.Stringer("hash", h), zap.Error(err))
		}
		return res, err
	})
}

func refuse(w http.ResponseWriter, r *http.Request, status int, err error) {
	w.Header().Set("Cache-Control", "no-store")
	_ = handlers.WriteJSON(w, r, status, line{Error: err.Error(), Kind: kindOf(err)}) // a node that is gone needs no answer
}

// servePromise has a store here promise to keep a clone.
func (a *Agent) servePromise(ctx context.Context, h content.Hash, q question, _ *atomic.Int64) (result, error) {
	v, ok := a.Volumes.Volume(q.Store)
	if !ok {
		return result{}, ErrUnknownStore
	}
	fresh := time.Duration(min(q.Fresh, maxFresh.Milliseconds())) * time.Millisecond
	c, err := a.promiseHere(ctx, v, h, inventory.PromiseOptions{Kept: q.Kept, Fresh: fresh})
	if err != nil {
		return result{}, err
	}
	return a.told(ctx, c)
}

// told is an answer with a clone and its records, as they stand here.
func (a *Agent) told(ctx context.Context, c inventory.Clone) (result, error) {
	res := result{Clone: c}
	versions, err := a.Engine.Get(ctx, record.Inventory, c.Hash.String())
	for _, v := range versions {
		if v.Member == c.Store && len(res.Records) < maxRecords {
			res.Records = append(res.Records, v)
		}
	}
	return res, err
}

// serveCopy copies a clone of a store here to another store.
func (a *Agent) serveCopy(ctx context.Context, h content.Hash, q question, done *atomic.Int64) (result, error) {
	a.Look() // this node may have started a moment ago
	c, err := a.copyHere(ctx, h, q.To, done)
	if err != nil {
		return result{}, err
	}
	return a.told(ctx, c)
}

// serveDrop has a store here drop its clone.
func (a *Agent) serveDrop(ctx context.Context, h content.Hash, q question, _ *atomic.Int64) (result, error) {
	a.Look()
	return result{}, a.dropHere(ctx, q.Store, h, q.Wanted)
}

func (a *Agent) serveDoing(_ context.Context, h content.Hash, _ question, _ *atomic.Int64) (result, error) {
	return result{Doing: a.doing(h)}, nil
}

func (a *Agent) serveNow(_ context.Context, _ content.Hash, q question, _ *atomic.Int64) (result, error) {
	a.giveUp(q.Stores)
	return result{}, nil
}
