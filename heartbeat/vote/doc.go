// Package vote is how nodes decide together that another is down: who watches
// whom, what probes come to, what votes there are, and what they amount to.
//
// All of it is decided from what is given: nothing here waits, sends or reads a
// clock. A node's panel are the few nodes that are asked about it, the same ones
// for everybody who sees the same cluster. Each of them says in its Ballot whom it
// fails to reach; a Ledger keeps the newest ballot of each node; a Council counts.
//
// What it promises:
//   - A ballot replaces an older one of the same voter and never the other way
//     round, in whatever order and by whatever way they come.
//   - A ballot is dropped, everywhere, a vote's life after its voter last said
//     it, however often others have passed it on and whatever their clocks say.
//   - A vote about a node that has restarted since does not count.
package vote
