package node

import (
	"github.com/ooseio/oose/handlers/upload"
	"github.com/ooseio/oose/peer"
)

// uploadStores lists the stores that an upload can choose from: those of the
// configuration in force, and those of other nodes.
func (n *Node) uploadStores() []upload.Store { return n.storesOf("") }

// storesOf lists the stores of a prism, wherever they are; "": of all of them.
func (n *Node) storesOf(prism string) []upload.Store {
	a := n.top.Load()
	if a == nil {
		return nil
	}
	cfg := &a.spec.Config
	group := cfg.Group
	if cfg.Site != "" && group != "" { // groups of several sites may share a name
		group = cfg.Site + "/" + group
	}
	list := make([]upload.Store, 0, len(a.held))
	for _, s := range a.spec.Stores {
		if prism != "" && s.Prism != prism {
			continue
		}
		v := a.byName[s.Name]
		if n.refused(v) {
			continue
		}
		list = append(list, switched{Store: upload.Local(v.Volume, n.id.Name, group), node: n, id: v.ID()})
	}
	if o := n.others; o != nil {
		for _, p := range n.Registry.Peers() {
			if p.Kind != peer.Store || n.Registry.Local(p.ID) || prism != "" && p.Name.Prism != prism {
				continue
			}
			if s, ok := o.source.Store(p); ok {
				list = append(list, s)
			}
		}
	}
	return list
}

// switched is a store that takes no new clones where the operator says so.
type switched struct {
	upload.Store
	node *Node
	id   string
}

// Writable tells whether the store would take a new clone.
func (s switched) Writable() bool {
	if p, ok := s.node.Registry.Lookup(s.id); ok && !(p.Active && p.Writable) {
		return false
	}
	return s.Store.Writable()
}
