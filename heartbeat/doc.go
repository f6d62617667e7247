// Package heartbeat knows the peers of a cluster, who of them is available,
// and which of several to choose.
//
// The registry is this node's copy of the records of topic peer. A peer of
// this node is available if what attached it says so; a peer of another node
// is not until probes and votes say that it is, which come with clusters.
package heartbeat
