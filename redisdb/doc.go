// Package redisdb is the engine of records on Redis, Valkey, or a service that
// speaks their protocol: one server, a master with Sentinels, or a Cluster.
//
// # Promises
//
// Update returns after Redis has made the change and every watcher of this node
// has seen it; how durable that is, Redis' settings say, and the warnings in
// Stats. Confirm tells what a replica has too. A record and its change in the
// stream, by which the other nodes learn of it within a second, are one
// transaction, also on a Cluster.
//
// No call waits longer than 300 ms for Redis (a page of a listing is a call).
// While Redis is away, what is in memory is served, and all else ends with
// record.ErrUnavailable at once. An update that ends so may have been made.
//
// # Order
//
// One committer sends all updates of this node, those that wait together in one
// pipeline for each server. It gives revisions and times in order and tells
// this node's watchers of them in that order. Scripts judge the conditions, on
// what is in Redis. One follower reads the streams of all tags and tells what
// others wrote, in the order of each stream; what it has to read for that, the
// committer reads, so that nobody is told of an older version of a record after
// a newer one.
//
// # Memory
//
// What Get found stays in memory until its stream says that it has changed. It
// counts while the follower has read the stream to its end within the last
// second; each read proves that the entry with which the last one ended is still
// there, so that nothing was missed. Otherwise what was known of the tag is
// forgotten, and watchers are told: of the topics that they keep copies of, of
// every record and of what vanished; of the others, that anything may have
// changed.
//
// docs/redis.md describes the keys, for other programs that write here.
package redisdb
