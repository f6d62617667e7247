// Package record is what the cluster knows, as records, and the one interface
// behind which an engine keeps them.
//
// Every record has one writer, its source. Several sources may each have a
// version under one (topic, key, member); readers merge them with Merge. The
// domains (inventory, purchase, heartbeat, account) are written once against
// Engine; package recordtest holds the suite that every engine passes.
package record

import (
	"context"
	"errors"
	"iter"
	"slices"
)

// Topic names one family of records.
type Topic string

// The topics. What identifies a record in each is its key and, for inventory
// alone, its member (the store's id).
const (
	Peer        Topic = "peer"        // key: the peer's id
	Inventory   Topic = "inventory"   // key: hash, member: store id
	Purchase    Topic = "purchase"    // key: token
	Use         Topic = "use"         // key: token; readers sum the sources' values
	User        Topic = "user"        // key: user name
	Session     Topic = "session"     // key: SHA-256 of the session's token
	Switch      Topic = "switch"      // key: what the operator switches
	Removal     Topic = "removal"     // key: hash
	Block       Topic = "block"       // key: hash
	Want        Topic = "want"        // key: hash
	Certificate Topic = "certificate" // key: certmagic's key
)

var topics = [...]Topic{Peer, Inventory, Purchase, Use, User, Session, Switch, Removal, Block, Want, Certificate}

// Topics lists every topic.
func Topics() []Topic { return slices.Clone(topics[:]) }

// Bounds that every engine holds.
const (
	MaxKey   = 255      // bytes of a key; a member has the same bound
	MaxValue = 64 << 10 // bytes of a value
)

// Errors on which callers decide.
var (
	// ErrConflict says that an update's condition did not hold; nothing was written.
	ErrConflict = errors.New("record changed meanwhile")
	// ErrInvalid says that a key, member or value is out of bounds; nothing was written.
	ErrInvalid = errors.New("invalid record")
	// ErrUnavailable says that the engine can't answer now: it is closed,
	// closing, out of disk space or out of reach. What was asked may be tried again.
	ErrUnavailable = errors.New("records are not available now")
)

// Record is one version of one thing that the cluster knows. What an engine
// returns is shared: it must not be changed.
type Record struct {
	Topic  Topic  `json:"topic"`
	Key    string `json:"key"`
	Member string `json:"member,omitempty"`
	Source string `json:"source"` // the writer's identity

	Time     Time   `json:"time"`              // when it was written
	Expires  int64  `json:"expires,omitempty"` // milliseconds since 1970, 0: never
	Deleted  bool   `json:"deleted,omitempty"` // a tombstone: its writer took the record back
	Final    bool   `json:"final,omitempty"`   // wins over every version that is not (revoked, logged out)
	Revision uint64 `json:"revision"`          // position in what its source wrote, from 1
	Value    []byte `json:"value,omitempty"`   // JSON, opaque to engines, at most MaxValue bytes
}

// Change is one record of an update: what this engine's own source says from
// now on about (topic, key, member).
type Change struct {
	Member  string // the store's id for inventory, else empty
	Value   []byte
	Expires int64 // milliseconds since 1970, 0: never
	Final   bool  // see Record.Final
	Delete  bool  // leave a tombstone instead of a value
}

// Condition says what must hold for an update to be made. The zero Condition
// always holds. It is judged over the merged versions of the change's member;
// with several changes, it must hold for each of them.
type Condition struct {
	kind conditionKind
	time Time
}

type conditionKind uint8

const (
	always conditionKind = iota
	absent
	unchanged
)

// IfAbsent holds where no version is live.
func IfAbsent() Condition { return Condition{kind: absent} }

// IfUnchanged holds where the merged version still has this time.
func IfUnchanged(t Time) Condition { return Condition{kind: unchanged, time: t} }

// Holds tells whether the condition is met by the versions of one
// (topic, key, member); engines call it where the order of commits is decided.
func (c Condition) Holds(topic Topic, versions []Record) bool {
	switch c.kind {
	case absent:
		_, ok := Merge(topic, versions)
		return !ok
	case unchanged:
		r, ok := Merge(topic, versions)
		return ok && r.Time == c.time
	}
	return true
}

// Parts tells what the condition asks for: that no version is live, or that the
// merged one still has a time. It is for engines whose store judges it.
func (c Condition) Parts() (noneLive, stillThere bool, at Time) {
	return c.kind == absent, c.kind == unchanged, c.time
}

// Ack tells how an update was kept.
type Ack struct {
	Time     Time   // the hybrid time that its records got
	Revision uint64 // the last revision it got at this source
	Copies   int    // nodes (or replicas) that hold it durably, this one included
}

// Index chooses the order of a List.
type Index uint8

const (
	// ByKey lists by key, then member, then source. The prefix is one of keys.
	ByKey Index = iota
	// ByMember lists the keys of one member, which the prefix names in full.
	// Only inventory has it.
	ByMember
)

// Position is how far a walk has come: for each source, the last revision seen.
// The nil Position is the beginning.
type Position map[string]uint64

// Engine keeps records. All methods can be called at the same time.
type Engine interface {
	// Get returns all versions of all members under a key, tombstones
	// included, in the order of (member, source). None is not an error.
	Get(ctx context.Context, topic Topic, key string) ([]Record, error)

	// List yields all versions, tombstones included, in the index's order: of
	// the keys that begin with prefix (ByKey) or of the member that prefix is
	// (ByMember), from the first key behind after. What is written meanwhile
	// may or may not be seen. It ends at its first error.
	List(ctx context.Context, topic Topic, by Index, prefix, after string) iter.Seq2[Record, error]

	// Update writes changes under one key, all or none, as this engine's
	// source. It returns when they are durable and every watcher knows them.
	// Errors: ErrConflict, ErrInvalid, ErrUnavailable.
	Update(ctx context.Context, topic Topic, key string, cond Condition, changes ...Change) (Ack, error)

	// Watch has f called with every committed batch's records of a topic, in
	// the order of commits, before those updates are acknowledged, until stop
	// returns. Records that are no longer kept (expired, replaced by an import)
	// come as tombstones; a tombstone without a source stands for all versions
	// of its key. A record without a key says that anything of the topic may
	// have changed unseen: what was made of its records is to be read again.
	// f must be quick and must not call the engine.
	Watch(topic Topic, f func([]Record)) (stop func())

	// Walk yields the latest version of every record behind a position, each
	// source in the order of its revisions.
	Walk(ctx context.Context, since Position) iter.Seq2[Record, error]
}

// Importer takes records that other sources wrote: asked for at another node,
// answered by a store, or read from an export.
type Importer interface {
	// Import keeps records with their sources, revisions and times. What is not
	// newer than what is at hand is left out. They are durable, and every
	// watcher knows them, when it returns. Errors: ErrInvalid, ErrUnavailable.
	Import(ctx context.Context, records []Record) error
}

// Dropper takes records of the inventory away that no longer say anything,
// whoever wrote them: those of a store's former owners.
type Dropper interface {
	// Drop lets versions go that are still there with the revisions given, and
	// returns how many went. No tombstone takes their place: each node, or all
	// that share a store of records, drops for itself, and some that another one
	// still catches up with may stay, or come back from it, and are to be dropped
	// later. That they are gone is durable, and every watcher has had them as
	// tombstones, when it returns. Errors: ErrInvalid, ErrUnavailable.
	Drop(ctx context.Context, records []Record) (int, error)
}

// Confirmer tells whether what was written is kept elsewhere too.
type Confirmer interface {
	// Confirm waits until the write is durable at another node, or at a replica
	// of the engine, or until ctx ends, and returns the ack with the copies
	// there are.
	Confirm(ctx context.Context, ack Ack) Ack
}
