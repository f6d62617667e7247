// Package heartbeat knows the peers of a cluster, who of them is available,
// and which of several to choose.
//
// The registry is this node's copy of the records of topic peer. A peer of
// this node is available if what attached it says so. A peer of another node is
// if its own node has registered it as online and it has not just failed a
// request of this one; probes and votes come on top of that.
package heartbeat
