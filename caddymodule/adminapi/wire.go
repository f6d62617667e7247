package adminapi

import (
	"encoding/json"

	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/journal/swarm"
	"github.com/ooseio/oose/node"
	"github.com/ooseio/oose/record/export"
)

// What the commands and the admin API say to one another, as JSON.

// PutAnswer is what an upload has come to.
type PutAnswer struct {
	Hash       string `json:"hash"`
	URL        string `json:"url"` // of a purchase of it
	Ext        string `json:"ext"`
	Size       int64  `json:"size"`       // bytes
	Durability int    `json:"durability"` // clones that are durable
	Expires    int64  `json:"expires"`    // of the purchase, milliseconds since 1970
}

// PurchaseRequest asks for a purchase, with the fields that a prism takes.
type PurchaseRequest struct {
	Hash     string           `json:"hash"`
	Ext      string           `json:"ext,omitempty"` // default: the stored one
	Name     string           `json:"name,omitempty"`
	Referrer handlers.Strings `json:"referrer,omitempty"`
	IP       handlers.Strings `json:"ip,omitempty"`
	Count    int64            `json:"count,omitempty"`
	Life     int64            `json:"life,omitempty"` // milliseconds, 0: the default
}

// PurchaseAnswer is a purchase as a prism answers it.
type PurchaseAnswer struct {
	Token    string `json:"token"`
	Hash     string `json:"hash"`
	Ext      string `json:"ext"`
	Referrer string `json:"referrer"`       // joined by commas
	Expires  string `json:"expirationDate"` // milliseconds since 1970, as text
	Count    int64  `json:"count,omitempty"`
	URL      string `json:"url"`
}

// RemoveRequest names the purchase to revoke.
type RemoveRequest struct {
	Token string `json:"token"`
}

// RemoveAnswer says that a purchase is revoked.
type RemoveAnswer struct {
	Token   string `json:"token"`
	Count   int    `json:"count"`
	Success string `json:"success"`
}

// StoreRequest asks for something to be done with a store.
type StoreRequest struct {
	Store string `json:"store"`
	Trust bool   `json:"trust,omitempty"` // scan: record files at once, verify them later
}

// VerifyRequest asks for clones to be read and compared with their hashes: of
// one store, of one content in every store, or all.
type VerifyRequest struct {
	Store string `json:"store,omitempty"`
	Hash  string `json:"hash,omitempty"`
	Force bool   `json:"force,omitempty"` // also those verified recently
}

// VerifyAnswer is the result of a verification, by store.
type VerifyAnswer struct {
	Stores []StoreVerified `json:"stores"`
	Failed int64           `json:"failed"` // clones that failed, are missing or could not be read
}

// StoreVerified is what verifying one store has found.
type StoreVerified struct {
	Store string `json:"store"`
	inventory.VerifyResult
}

// ScanAnswer is the result of a scan.
type ScanAnswer struct {
	Store string `json:"store"`
	inventory.ScanResult
}

// AdoptAnswer tells what a store is after its root was adopted.
type AdoptAnswer struct {
	Store string `json:"store"`
	inventory.Status
}

// StreamLine is one line of an answer that takes long. Exactly one field is
// set; a result or an error is the last line.
type StreamLine struct {
	Progress *ProgressLine   `json:"progress,omitempty"`
	Warning  string          `json:"warning,omitempty"` // something went wrong that stops nothing
	Result   json.RawMessage `json:"result,omitempty"`
	Error    string          `json:"error,omitempty"`
}

// ProgressLine tells how far a store is.
type ProgressLine struct {
	Store string `json:"store"`
	inventory.ScanProgress
}

// BlockRequest names contents to block or unblock.
type BlockRequest struct {
	Hash   handlers.Strings `json:"hash"` // one or an array
	Reason string           `json:"reason,omitempty"`
	Hidden bool             `json:"hidden,omitempty"` // viewers are answered as if nobody held it
}

// BlockAnswer tells what was blocked or unblocked.
type BlockAnswer struct {
	Hashes    []string `json:"hashes"`
	Unchanged []string `json:"unchanged,omitempty"` // were not blocked, as far as this node knows
	Copies    int      `json:"copies"`              // nodes that know it already, this one included; with redis: its servers
}

// BlockLine is one content that is blocked.
type BlockLine struct {
	Hash string `json:"hash"`
	inventory.Block
}

// BlocksAnswer lists what is blocked, in the order of the hashes.
type BlocksAnswer struct {
	Blocks []BlockLine `json:"blocks"`
}

// ImportAnswer tells what an import has come to.
type ImportAnswer struct {
	export.Imported
	Incomplete bool `json:"incomplete,omitempty"` // the export had no end
}

// UserAnswer is one user, without the password.
type UserAnswer struct {
	Name     string `json:"name"`
	Declared bool   `json:"declared"` // stands in the configuration, can't be changed here
}

// UsersAnswer lists the users.
type UsersAnswer struct {
	Users []UserAnswer `json:"users"`
}

// PasswordRequest sets a user's password.
type PasswordRequest struct {
	Password string `json:"password"`
}

// InventoryLine is one clone in a listing.
type InventoryLine struct {
	Hash     string `json:"hash"`
	Ext      string `json:"ext"`
	Size     int64  `json:"size"`     // bytes
	Stored   int64  `json:"stored"`   // milliseconds since 1970
	Verified int64  `json:"verified"` // milliseconds since 1970, 0: never
	Deep     bool   `json:"deep"`     // lies where OOSE 2.x put it
}

// StatusAnswer tells how the node is.
type StatusAnswer struct {
	Version string `json:"version"` // of OOSE
	Caddy   string `json:"caddy"`   // the version of Caddy
	node.Status
}

// PeerAnswer is one entry of the registry.
type PeerAnswer struct {
	ID string `json:"id"`
	heartbeat.Peer
	Available bool `json:"available"`
}

// PeersAnswer tells who is in the cluster, and how this node is connected with
// the others.
type PeersAnswer struct {
	Peers       []PeerAnswer       `json:"peers"`
	Connections []swarm.Connection `json:"connections"`
	Conflict    string             `json:"conflict,omitempty"` // another live node has this node's name
}
