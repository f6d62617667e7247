package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/record"
)

// claims is what this node knows of its hold on the stores of its process. A
// store is the id in its root's marker: a medium may come from another node.
type claims struct {
	mu      sync.Mutex
	taken   map[string]record.Time // by store id: since when this process has its root
	written map[string]string      // by store id: the source under which its whole inventory is written
}

func (c *claims) take(id string, at record.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.taken == nil {
		c.taken = make(map[string]record.Time)
	}
	c.taken[id] = at
}

// takeOver is take for a store that another node had: what was written here
// before that is not its whole inventory any more.
func (c *claims) takeOver(id string, at record.Time) {
	c.take(id, at)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.written, id)
}

func (c *claims) at(id string) record.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.taken[id]
}

func (c *claims) wrote(id, source string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.written == nil {
		c.written = make(map[string]string)
	}
	c.written[id] = source
}

func (c *claims) complete(id, source string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.written[id] == source
}

// owns tells whether a registered peer is this node's.
func (n *Node) owns(p heartbeat.Peer) bool {
	return p.NodeID == n.id.ID || p.NodeID == "" && p.Node == n.id.Name
}

// refused tells whether a volume is not the store that it has the id of: it does
// not hold the root, and the store is registered as another node's.
func (n *Node) refused(v *openVolume) bool {
	if v.Readable() {
		return false
	}
	p, known := n.Registry.Lookup(v.ID())
	return known && !n.owns(p)
}

// askHolder bounds how long a node is asked whether it still has a store.
const askHolder = 2 * time.Second

var (
	errUnread  = errors.New("waiting for the records, which tell whether this store is known")
	errUnheard = errors.New("waiting to hear from the other nodes whether one of them has this store")
)

// known returns the id that is registered for a store's name, "" where none is.
// Its error says that this is not known yet: a root without a marker may be that of
// a store whose medium is not mounted.
func (n *Node) known(store string) (string, error) {
	if !n.Registry.Loaded() {
		return "", errUnread
	}
	if !n.hear(firstHearing) {
		return "", errUnheard
	}
	return n.knownStore(store), nil
}

// claim has this node take the store in a root it found, unless another node
// has it and answers: then the root is a copy, or is mounted twice. A node that
// has just started waits until it has heard from the others.
func (n *Node) claim(id string) error {
	if !n.Registry.Loaded() {
		return errUnread
	}
	p, known := n.Registry.Lookup(id)
	if known && n.owns(p) {
		n.claims.take(id, n.clock.Next())
		if p.Complete {
			n.claims.wrote(id, p.Source)
		}
		return nil
	}
	if !n.hear(firstHearing) {
		return errUnheard
	}
	held, err := n.heldBy(context.Background(), p)
	switch {
	case err != nil:
		return fmt.Errorf("it is store %s of node %s (%s), which does not tell whether it still has it: %w", p.Name.Store, p.Node, p.Cluster, err)
	case held:
		return fmt.Errorf("it is store %s of node %s (%s), which has it: one root is a copy of the other, or is mounted twice; stop it there, or remove the marker oose.json from a copy", p.Name.Store, p.Node, p.Cluster)
	}
	n.claims.takeOver(id, n.clock.Next())
	if known {
		n.log.Info("store is taken over", zap.String("store", p.Name.Store), zap.String("id", id), zap.String("from", p.Node))
	}
	return nil
}

// mayRegister tells whether a store that this node holds is its own to speak
// of. Of two nodes that both hold it, which only a copied or doubly mounted root
// gives, the one that has held it for longer keeps it: who comes back with a root
// that another took over meanwhile has not.
func (n *Node) mayRegister(ctx context.Context, v *openVolume, id string) bool {
	p, known := n.Registry.Lookup(id)
	if !known || n.owns(p) {
		return true
	}
	mine := n.claims.at(id)
	if mine == 0 || p.Claimed > mine && !v.Readable() {
		return false // not taken since the other had it, or perhaps taken away
	}
	if p.Claimed > mine {
		return true
	}
	held, err := n.heldBy(ctx, p)
	if held {
		v.takeBack()
		v.Lost(fmt.Sprintf("node %s (%s) has this store too, and had it before: one root is a copy of the other, or is mounted twice", p.Node, p.Cluster))
		n.claims.takeOver(id, 0)
	}
	return !held && err == nil
}

// heldBy tells whether the node that registered a store answers and has it. Its
// error says that this node reaches it and is not told: it may just be slow, and
// to take a store from one that has it is worse than to wait.
func (n *Node) heldBy(ctx context.Context, p heartbeat.Peer) (bool, error) {
	if n.others == nil || p.Cluster == "" || !p.Online {
		return false, nil
	}
	asking, cancel := context.WithTimeout(ctx, askHolder)
	defer cancel()
	held, err := n.others.clones.Held(asking, p.Cluster, p.ID)
	if err != nil && n.others.away(p.NodeID) {
		return false, nil
	}
	return held, err
}

// wrote says that all there is of a store is written under a source of this
// node: from now on only that counts, once the others have heard it.
func (n *Node) wrote(_ context.Context, id, source string) error {
	if n.claims.at(id) == 0 {
		return errors.New("this node does not have the store any more")
	}
	n.claims.wrote(id, source)
	n.register()
	return nil
}

// owner is what the index asks for: who writes a store's inventory, and whether
// all of it is written.
func (n *Node) owner(store string) (source string, complete bool) {
	p, ok := n.Registry.Lookup(store)
	if !ok && n.forgotten.has(store) {
		return "", true
	}
	return p.Source, ok && p.Complete
}

// followOwners has the index read anew when a store's owner changes.
func (n *Node) followOwners() {
	known := make(map[string]string)
	n.Registry.OnChange(func() {
		changed, there := false, make(map[string]bool)
		for _, p := range n.Registry.Peers() {
			there[p.ID] = true
			if p.Complete && known[p.ID] != p.Source {
				known[p.ID] = p.Source
				changed = true
			}
		}
		for id := range known {
			if !there[id] { // it may be forgotten
				delete(known, id)
				changed = true
			}
		}
		if changed {
			n.Index.Forget()
			n.register() // a store of this process may be another node's now
		}
	})
}
