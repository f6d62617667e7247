package repair

import (
	"context"
	"fmt"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
	plan "github.com/ooseio/oose/inventory/repair"
)

// Content is how one content stands, and what it needs.
type Content struct {
	plan.Plan
	Clones  []inventory.Clone // that no removal concerns, the earliest first
	Wanted  int               // clones that there are to be
	Blocked bool              // the operator refuses it: nothing is done about it
}

// Count is how many clones count: those that can be used, and those that are
// expected back.
func (c *Content) Count() int { return c.Good + c.Down }

// Content tells how a content stands, as this node sees it now.
func (a *Agent) Content(ctx context.Context, h content.Hash) (Content, error) {
	f, err := a.examine(ctx, h)
	return Content{Plan: f.Plan, Clones: f.clones, Wanted: f.wanted, Blocked: f.refuse}, err
}

// Look judges anew how the stores stand, which Run does every second: for who
// has just changed something about them, or asks a node that has just started.
func (a *Agent) Look() {
	if a.Ready() {
		a.look()
	}
}

// Standing tells how a store stands, as this node sees it now; false where it
// knows none with that id.
func (a *Agent) Standing(store string) (plan.Store, bool) { return a.cluster.Load().Store(store) }

// Verify reads the clone of a store anew, whichever node carries it, and compares
// it with its hash; where it was verified lately, only with force. A clone that
// fails goes to quarantine. Errors: ErrUnknownStore, inventory.ErrNotExist and
// those of inventory.Volume.Verify.
func (a *Agent) Verify(ctx context.Context, h content.Hash, store string, force bool) (inventory.Verification, error) {
	if v, here := a.Volumes.Volume(store); here {
		return v.Verify(ctx, h, force)
	}
	address := a.Address(store)
	if address == "" {
		return inventory.Verification{}, fmt.Errorf("verifying %s: store %s: %w", h, store, ErrUnknownStore)
	}
	res, err := a.askCarrier(ctx, store, address, "verify", question{Hash: h.String(), Store: store, Force: force}, nil)
	if err == nil && res.Verification == nil {
		err = errAnswer
	}
	if err != nil {
		return inventory.Verification{}, fmt.Errorf("verifying %s in store %s: %w", h, store, err)
	}
	return *res.Verification, nil
}

// serveVerify verifies a clone of a store here.
func (a *Agent) serveVerify(ctx context.Context, h content.Hash, q question) (result, error) {
	v, ok := a.Volumes.Volume(q.Store)
	if !ok {
		return result{}, ErrUnknownStore
	}
	seen, err := v.Verify(ctx, h, q.Force)
	return result{Verification: &seen}, err
}
