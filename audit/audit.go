// Package audit keeps the log of who changed what: JSON lines in one file of
// the node's data folder, bounded by rotation and synced before an answer
// leaves. A node writes down what was done through it.
//
// What it promises:
//   - An entry that Add acknowledged survives a crash of the process and of the
//     machine, until rotation takes it.
//   - Entries of one node have times that only grow.
//   - A disk that takes no entry stops nothing: what was asked for is done, the
//     entry goes to the node's own log, waits in memory, and is written when the
//     disk takes it. Add tells that it waits.
//   - No secret is in it: a token is its short form and its SHA-256.
package audit

import "time"

// Action names what was done.
type Action string

// What is written down.
const (
	PurchaseRemove Action = "purchase.remove"
	ContentRemove  Action = "content.remove"
	ContentBlock   Action = "content.block"
	ContentUnblock Action = "content.unblock"
	ContentWant    Action = "content.want" // how many clones of one content are to be
	CloneAdd       Action = "clone.add"
	CloneDrop      Action = "clone.drop"
	StoreDrain     Action = "store.drain"
	StoreUndrain   Action = "store.undrain"
	StoreForget    Action = "store.forget"
	PeerForget     Action = "peer.forget"
	StoreAdopt     Action = "store.adopt"
	PeerSwitch     Action = "peer.switch" // active or writable
	RepairNow      Action = "repair.now"  // repair does not wait
	UserAdd        Action = "user.add"
	UserChange     Action = "user.change" // a new password
	UserRemove     Action = "user.remove"
	RecordsImport  Action = "records.import"
	RecordsExport  Action = "records.export"
)

// Via is how somebody was known.
type Via string

// The ways to be known.
const (
	Session Via = "session" // a user, by a session
	Basic   Via = "basic"   // a name, by HTTP basic auth
	Admin   Via = "admin"   // whoever reaches the admin endpoint
	Node    Via = "node"    // another node, by the cluster secret
)

// Actor is who did something.
type Actor struct {
	Via    Via    `json:"via"`
	Who    string `json:"who,omitempty"`    // the name, where there is one
	System string `json:"system,omitempty"` // the operating system's user, where it tells
	From   string `json:"from,omitempty"`   // the address
}

// String names the actor in a few words.
func (a Actor) String() string {
	switch {
	case a.Who != "":
		return string(a.Via) + ":" + a.Who
	case a.System != "":
		return string(a.Via) + ":" + a.System
	}
	return string(a.Via)
}

// Entry is one line of the log.
type Entry struct {
	Time   time.Time `json:"time"` // given by Add
	Node   string    `json:"node"` // given by Add
	Action Action    `json:"action"`
	Actor

	Hash    string `json:"hash,omitempty"`
	Token   string `json:"token,omitempty"`       // the short form, as in logs
	Digest  string `json:"tokenSha256,omitempty"` // of the token, in hex
	Store   string `json:"store,omitempty"`       // or another peer, by name
	StoreID string `json:"storeId,omitempty"`
	User    string `json:"user,omitempty"` // who was added, changed or removed
	Count   int64  `json:"count,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Detail  string `json:"detail,omitempty"` // what else there is to say
	Error   string `json:"error,omitempty"`  // it was not done, or not all of it
}
