package demand

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/inventory/pull"
)

// Path is that of the one call between nodes.
const Path = "/cluster/demand"

const (
	maxQuestion = 4 << 10 // bytes
	maxAnswer   = 4 << 10
)

type (
	question struct {
		Hash  string `json:"hash"`
		Store string `json:"store"`
	}
	answer struct {
		Whole bool `json:"whole"`
	}
	refusal struct {
		Error string `json:"error"`
	}
)

var (
	errMalformed = errors.New("malformed question")
	errNoCache   = errors.New("this store has no room for copies")
	errHeld      = errors.New("a store of this node holds the content")
)

// call asks a store to take a content in; it tells whether it has it already.
func (a *Agent) call(ctx context.Context, place Place, h content.Hash) (whole bool, err error) {
	raw, err := json.Marshal(question{h.String(), place.ID})
	if err != nil {
		return false, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(place.Address, "/")+Path, bytes.NewReader(raw))
	if err != nil {
		return false, err
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := a.Doer.Do(r)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	if raw, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer)); err != nil {
		return false, err
	}
	if resp.StatusCode != http.StatusOK {
		var m refusal
		_ = json.Unmarshal(raw, &m) // the status tells enough
		return false, fmt.Errorf("the node answered %d: %.200q", resp.StatusCode, m.Error)
	}
	var out answer
	if err := json.Unmarshal(raw, &out); err != nil {
		return false, fmt.Errorf("%w: %w", errUnexpected, err)
	}
	return out.Whole, nil
}

// ServeHTTP answers another node.
func (a *Agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodPost || r.URL.Path != Path {
		w.Header().Set("Allow", http.MethodPost)
		_ = handlers.WriteJSON(w, r, http.StatusMethodNotAllowed, refusal{"use POST " + Path}) // a node that is gone needs no answer
		return
	}
	whole, err := a.take(w, r)
	if err != nil {
		status := http.StatusServiceUnavailable
		for _, known := range []struct {
			err    error
			status int
		}{
			{errMalformed, http.StatusBadRequest}, {inventory.ErrBlocked, http.StatusForbidden}, {pull.ErrGone, http.StatusNotFound},
			{inventory.ErrNotExist, http.StatusNotFound}, {errNoCache, http.StatusNotFound}, {errHeld, http.StatusConflict},
			{pull.ErrFull, http.StatusInsufficientStorage},
		} {
			if errors.Is(err, known.err) {
				status = known.status
			}
		}
		text := err.Error()
		_ = handlers.WriteJSON(w, r, status, refusal{text[:min(len(text), 500)]})
		return
	}
	_ = handlers.WriteJSON(w, r, http.StatusOK, answer{whole})
}

// take has a store here take a content in.
func (a *Agent) take(w http.ResponseWriter, r *http.Request) (whole bool, err error) {
	var q question
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxQuestion))
	if err == nil {
		err = json.Unmarshal(raw, &q)
	}
	h, invalid := content.ParseHash(q.Hash)
	if err = errors.Join(err, invalid); err != nil {
		return false, fmt.Errorf("%w: %w", errMalformed, err)
	}
	cache, ok := a.Caches.Cache(q.Store)
	if !ok {
		return false, errNoCache
	}
	p, err := a.Index.Find(r.Context(), h)
	switch {
	case err != nil:
		return false, err
	case p.Blocked:
		return false, inventory.ErrBlocked
	case len(p.Clones) == 0:
		return false, inventory.ErrNotExist
	}
	for i := range p.Clones {
		if v, here := a.Caches.Volume(p.Clones[i].Store); here && v.Readable() {
			return false, errHeld
		}
	}
	size := p.Clones[0].Size
	state, err := cache.Want(h, size, time.Now().Add(life), a.Fetch(p, size))
	if state == pull.Begun {
		a.counts.taken.Add(1)
		a.Log.Info("taking in a copy of content that is hot elsewhere", zap.Stringer("hash", h), zap.Int64("size", size), zap.String("store", q.Store))
	}
	return state == pull.Whole, err
}

// Lend is clones.Copies': it opens a store's copy, for the caller to close.
func (a *Agent) Lend(store string, h content.Hash) (*os.File, bool) {
	cache, ok := a.Caches.Cache(store)
	if !ok {
		return nil, false
	}
	f, ok := cache.Lend(h)
	if ok {
		a.counts.lent.Add(1)
	}
	return f, ok
}

// Drop is clones.Copies': a store's copy can't be read.
func (a *Agent) Drop(store string, h content.Hash) {
	if cache, ok := a.Caches.Cache(store); ok {
		cache.Drop(h)
	}
}
