// Package monitor probes the other nodes of a cluster and tells the registry
// who of them is available.
//
// Each round it starts a probe of every node in whose panel it is (package
// vote), and casts a vote about who fails too many in a row. What is sent with a
// probe, and what comes back, are the votes that the other side has not heard:
// so votes go over whoever can be reached, and no server that keeps them has to
// be up. When the votes change, all neighbours are told at once: those that this
// node probes, and those that probe it.
//
// What it promises:
//   - A node that does not answer is Unreached here as soon as this node knows by
//     itself, and Down when a majority of its panel says so, whoever hears it.
//   - A node that fails to reach nearly all others casts no votes.
//   - The cost of a round does not grow with the cluster.
//   - Run owns every goroutine, and waits for it.
package monitor
