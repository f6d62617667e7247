// Package journal is the embedded engine of records: one Badger database of
// this node, written by one committer, and followed by other nodes.
//
// # Promises
//
// Update returns after its records were synced to the disk and every watcher
// has seen them. A process that is killed, or a machine that loses its power,
// at any moment leaves all that was acknowledged and nothing by halves: an
// update is within one transaction. What was not acknowledged may have been kept.
//
// # Order
//
// All writes that wait are taken together by one committer (at most 1,000
// changes and 1 MiB), which judges their conditions one after another, each
// seeing those before it, gives revisions and times, commits one transaction,
// forgets what the cache knew of these keys, tells the watchers in order, then
// those who follow, and only then answers. What other sources wrote goes the
// same way; while catching up it gives way to what is live.
//
// # Keys
//
// Text parts have no NUL and are separated by one; numbers are 8 bytes, big endian.
//
//	r topic 0 key 0 member 0 source  the latest version of one source
//	v source 0 revision              the r key: what a source wrote, in order,
//	                                 only the latest revision of each record
//	x due r-key                      a hint that this may go at due (ms since 1970):
//	                                 purchases, their uses, sessions, tombstones
//	m topic 0 member 0 key           what a member has (inventory alone)
//	s source                         head, claim, newest dropped tombstone, last time, leaps
//	n                                number and digest of the versions alive in each topic
//	f                                version of this format, and under which name this node writes
//	z                                zeros, now and then; see flush
//
// Badger's own expiry is not used: it would take single versions away, without
// their revisions, and without a word to the watchers.
package journal
