// Package swarm connects the nodes that replicate each other's journals. It
// finds them, keeps a connection to each, follows every source through one of
// them, and answers when they follow ours: both ends of the protocol are here.
//
// # Who follows whom
//
// A node says hello to every address that it knows (configured, found by DNS,
// told by other nodes, or seen in former times), and whoever it says hello to
// learns its address and does the same. Of each node reached it reads the
// catalogue every two seconds. Each source is followed through one stream: from
// its own node where that can be reached, else from the reached node with the
// highest claim. What was synced is acknowledged to the node it came from.
//
// # Requests
//
//	POST /cluster/hello                     who we are, who they are, whose clock says what
//	GET  /cluster/journal                   the catalogue: sources, heads, claims
//	GET  /cluster/journal/<source>?since=N  a stream of what a source wrote behind N
//	POST /cluster/journal                   acknowledgements: what the caller has synced
//
// Signing and checking them is the business of whoever gives a Doer and mounts
// ServeHTTP. docs/replication.md describes them for operators.
package swarm
