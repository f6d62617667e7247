package node

import (
	"context"
	"slices"
	"time"

	"github.com/ooseio/oose/journal/swarm"
)

// runAlone notes since when this node has been cut off from all others that it
// knows.
func (n *Node) runAlone(ctx context.Context) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		nodes := n.others.swarm.Nodes()
		switch {
		case len(nodes) == 0 || slices.ContainsFunc(nodes, func(o swarm.Node) bool { return o.Reached }):
			n.aloneSince.Store(0)
		case n.aloneSince.Load() == 0:
			n.aloneSince.Store(time.Now().UnixNano())
		}
	}
}

// alone tells whether this node has been cut off for so long that it may no
// longer serve what may have been revoked: see Purchase.Alone.
func (n *Node) alone() bool {
	bound, since := n.rules().Purchase.Alone.Std(), n.aloneSince.Load()
	return bound > 0 && since != 0 && time.Now().UnixNano()-since > bound.Nanoseconds()
}
