package node

// Ready tells whether this node knows what the others know.
func (n *Node) Ready() bool { return n.ready() }
