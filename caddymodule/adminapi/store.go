package adminapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/ooseio/oose/audit"
	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/inventory"
)

// status answers GET /oose/status.
func (c *call) status() error {
	return handlers.WriteJSON(c.w, c.r, http.StatusOK, c.report())
}

// peers answers GET /oose/peers with the registry and the connections.
func (c *call) peers() error {
	list := []PeerAnswer{}
	connections, conflict := c.connections()
	for _, p := range c.registry.Peers() {
		list = append(list, PeerAnswer{ID: p.ID, Peer: p, Available: c.registry.Available(p.ID), Standing: c.registry.Standing(p.ID)})
	}
	answer := PeersAnswer{Peers: list, Connections: connections}
	if conflict != nil {
		answer.Conflict = conflict.Error()
	}
	return handlers.WriteJSON(c.w, c.r, http.StatusOK, answer)
}

// inventory answers GET /oose/inventory/{store} with an array that is written
// as it is read: a store may hold millions of clones.
func (c *call) inventory() error {
	v, err := c.volume(c.r.PathValue("store"))
	if err != nil {
		return err
	}
	id := v.ID()
	if id == "" {
		return handlers.Faultf(handlers.Unavailable, "The store %s has never been online here: its inventory is not known", v.Name())
	}
	h := c.w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	if c.r.Method == http.MethodHead {
		return nil
	}
	enc := json.NewEncoder(c.w)
	before := "["
	for clone, err := range c.index.List(c.r.Context(), id, content.Hash{}) {
		if err == nil {
			_, err = c.w.Write([]byte(before))
		}
		if err == nil {
			err = enc.Encode(InventoryLine{
				Hash: clone.Hash.String(), Ext: clone.Ext, Size: clone.Size,
				Stored: clone.Stored, Verified: clone.Verified, Deep: clone.Deep,
			})
		}
		if err != nil {
			return c.breakOff(before != "[", err)
		}
		before = ","
	}
	if before == "[" {
		before = "[]"
	} else {
		before = "]"
	}
	_, err = c.w.Write([]byte(before + "\n"))
	return err
}

// breakOff ends an answer that can't be finished, in a way that the client
// can't take for its end; one that has not begun gets the error.
func (c *call) breakOff(begun bool, err error) error {
	if !begun {
		return err
	}
	panic(http.ErrAbortHandler)
}

// scan answers POST /oose/scan.
func (c *call) scan() error {
	var ask StoreRequest
	v, err := c.readStore(&ask)
	if err != nil {
		return err
	}
	return c.streamed(func(s *lineStream) (any, error) {
		found, err := v.Scan(c.r.Context(), inventory.ScanOptions{Trust: ask.Trust}, s.progress(v.Name()))
		if err != nil {
			return nil, volumeFault(v, err)
		}
		return ScanAnswer{v.Name(), found}, nil
	})
}

// adopt answers POST /oose/adopt.
func (c *call) adopt() error {
	var ask StoreRequest
	v, err := c.readStore(&ask)
	if err != nil {
		return err
	}
	return c.streamed(func(*lineStream) (any, error) {
		if err := v.Adopt(c.r.Context()); err != nil {
			return nil, volumeFault(v, err)
		}
		c.audited(audit.Entry{Action: audit.StoreAdopt, Store: v.Name(), StoreID: v.ID()})
		return AdoptAnswer{v.Name(), v.Status()}, nil
	})
}

func (c *call) readStore(ask *StoreRequest) (*inventory.Volume, error) {
	if err := handlers.ReadJSON(c.w, c.r, ask); err != nil {
		return nil, err
	}
	return c.volume(ask.Store)
}

// volume returns the store of that name.
func (c *call) volume(name string) (*inventory.Volume, error) {
	if name == "" {
		return nil, handlers.Faultf(handlers.Malformed, `The field "store" is missing: name a store of this node`)
	}
	for _, v := range c.volumes {
		if v.Name() == name {
			return v, nil
		}
	}
	return nil, handlers.Faultf(handlers.RouteUnknown, "This node has no store %.64q; GET /oose/status lists those it has", name)
}

// verify answers POST /oose/verify.
func (c *call) verify() error {
	var ask VerifyRequest
	if err := handlers.ReadJSON(c.w, c.r, &ask); err != nil {
		return err
	}
	volumes := c.volumes
	if ask.Store != "" {
		v, err := c.volume(ask.Store)
		if err != nil {
			return err
		}
		volumes = []*inventory.Volume{v}
	}
	var h content.Hash
	if ask.Hash != "" {
		var err error
		if h, err = parseHash(ask.Hash); err != nil {
			return err
		}
	}
	return c.streamed(func(s *lineStream) (any, error) {
		return c.verifyIn(s, volumes, h, ask.Force)
	})
}

// verifyIn verifies, in each of the volumes, one content or everything. A
// store that can't be read does not keep the others from being verified.
func (c *call) verifyIn(s *lineStream, volumes []*inventory.Volume, h content.Hash, force bool) (any, error) {
	answer := VerifyAnswer{Stores: []StoreVerified{}}
	var failed error
	for _, v := range volumes {
		one := StoreVerified{Store: v.Name()}
		var err error
		if h.IsZero() {
			one.VerifyResult, err = v.VerifyAll(c.r.Context(), force, s.progress(v.Name()))
		} else {
			one.VerifyResult, err = c.verifyOne(v, h, force)
		}
		if c.r.Context().Err() != nil {
			return nil, c.r.Context().Err()
		}
		if errors.Is(err, inventory.ErrNotExist) {
			continue
		}
		if err != nil {
			failed = errors.Join(failed, volumeFault(v, err))
			continue
		}
		answer.Stores = append(answer.Stores, one)
		answer.Failed += one.Failed + one.Missing + one.Errors
	}
	if len(answer.Stores) == 0 && failed == nil && !h.IsZero() {
		return nil, handlers.Faultf(handlers.ContentUnknown, "No store of this node holds %s", h)
	}
	if failed != nil {
		return nil, failed
	}
	return answer, nil
}

// verifyOne verifies one content in one store.
func (c *call) verifyOne(v *inventory.Volume, h content.Hash, force bool) (inventory.VerifyResult, error) {
	var r inventory.VerifyResult
	placement, err := c.index.Find(c.r.Context(), h)
	if err != nil {
		return r, err
	}
	i := slices.IndexFunc(placement.Clones, func(clone inventory.Clone) bool { return clone.Store == v.ID() })
	if i < 0 {
		return r, inventory.ErrNotExist
	}
	seen, err := v.Verify(c.r.Context(), h, force)
	switch {
	case err != nil:
		return r, err
	case seen.Skipped:
		r.Skipped++
	case seen.OK:
		r.Verified++
	default:
		r.Failed++
		r.Hashes = append(r.Hashes, h.String())
	}
	if !seen.Skipped {
		r.Bytes = placement.Clones[i].Size
	}
	return r, nil
}

// volumeFault tells what keeps a store from doing what was asked.
func volumeFault(v *inventory.Volume, err error) error {
	if errors.As(err, new(*handlers.Fault)) {
		return err
	}
	for _, away := range []error{inventory.ErrOffline, inventory.ErrSuspect, inventory.ErrReadOnly, inventory.ErrFull} {
		if errors.Is(err, away) {
			reason := v.Status().Reason
			if reason == "" {
				reason = away.Error()
			}
			return handlers.Faultf(handlers.Unavailable, "The store %s can't do this now: %s", v.Name(), reason)
		}
	}
	return asFault(err)
}

// parseHash reads a hash of a request.
func parseHash(text string) (content.Hash, error) {
	h, err := content.ParseHash(text)
	if err != nil {
		return h, handlers.Faultf(handlers.InvalidHash, "%.140q is not a hash: it has 32, 40, 56, 64, 96 or 128 hex digits", text)
	}
	return h, nil
}
