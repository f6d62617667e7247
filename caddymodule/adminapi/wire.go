package adminapi

import (
	"encoding/json"

	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/clonetool"
	"github.com/ooseio/oose/handlers/repair"
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
	Progress *ProgressLine       `json:"progress,omitempty"`
	Drain    *DrainLine          `json:"drain,omitempty"`
	Clones   *clonetool.Progress `json:"clones,omitempty"`
	Content  *ContentLine        `json:"content,omitempty"`
	Warning  string              `json:"warning,omitempty"` // something went wrong that stops nothing
	Result   json.RawMessage     `json:"result,omitempty"`
	Error    string              `json:"error,omitempty"`
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

// SwitchRequest asks for a peer to be switched; what is null stays as it is.
type SwitchRequest struct {
	Peer     string `json:"peer"`               // name, first label of the host name, or id
	Active   *bool  `json:"active,omitempty"`   // false: it is chosen for nothing
	Writable *bool  `json:"writable,omitempty"` // false: it takes no new clones
}

// SwitchAnswer tells how a peer is switched now.
type SwitchAnswer struct {
	Peer string `json:"peer"`
	ID   string `json:"id"`
	heartbeat.Switches
}

// DrainRequest asks for a store to be emptied.
type DrainRequest struct {
	Store string `json:"store"`
	Wait  bool   `json:"wait,omitempty"` // answer when it is safe to remove
}

// DrainLine tells how far the emptying of a store is.
type DrainLine struct {
	Store string `json:"store"`
	ID    string `json:"id"`
	repair.Drain
	Safe      bool    `json:"safe"`                // to remove
	Of        int64   `json:"of"`                  // clones that were needed when the watching began
	Rate      float64 `json:"rate,omitempty"`      // clones a second
	BytesRate int64   `json:"bytesRate,omitempty"` // bytes a second that the store holds less
	Remaining int64   `json:"remaining,omitempty"` // milliseconds, by that rate; 0: not known
	LastError string  `json:"lastError,omitempty"` // that this node met while repairing
}

// StoreAnswer names the store that something was done about.
type StoreAnswer struct {
	Store string `json:"store"`
	ID    string `json:"id"`
}

// ForgetAnswer names the store that was forgotten, and what went with it.
type ForgetAnswer struct {
	Store string   `json:"store"`
	ID    string   `json:"id"`
	Alone int64    `json:"alone"`          // contents of which no other store has a good clone
	Short int64    `json:"short"`          // other contents that have fewer clones now than are wanted
	Lost  []string `json:"lost,omitempty"` // of those without another clone, the first 1,000
}

// ClonesRequest picks contents and says what is to be done about them. Without
// an action they are listed; with nothing at all they are counted.
type ClonesRequest struct {
	All    bool             `json:"all,omitempty"`
	Hash   handlers.Strings `json:"hash,omitempty"`
	Store  string           `json:"store,omitempty"`  // that holds a clone
	Prism  string           `json:"prism,omitempty"`  // one of whose stores does
	Folder string           `json:"folder,omitempty"` // with which the hash begins, as ab or ab/cd
	Above  *int             `json:"above,omitempty"`  // clones that count
	At     *int             `json:"at,omitempty"`
	Below  *int             `json:"below,omitempty"`

	Desired  int    `json:"desired,omitempty"`
	CloneTo  string `json:"cloneTo,omitempty"`
	DropFrom string `json:"dropFrom,omitempty"`
	Verify   bool   `json:"verify,omitempty"`
	Detail   bool   `json:"detail,omitempty"` // tell all that is recorded of each clone
	Pretend  bool   `json:"pretend,omitempty"`
	Force    bool   `json:"force,omitempty"`
	Parallel int    `json:"parallel,omitempty"` // contents at the same time; default 4

	Protect       handlers.Strings `json:"protect,omitempty"`       // hashes of which nothing is dropped
	ProtectStores handlers.Strings `json:"protectStores,omitempty"` // from which nothing is dropped

	Repair bool `json:"repair,omitempty"` // instead of all that: tell what is being repaired
	Now    bool `json:"now,omitempty"`    // ... and take what is away for lost at once
}

// ContentLine is one content of a run: how it stood, and what was done.
type ContentLine struct {
	Hash    string           `json:"hash"`
	Count   int              `json:"count"`  // clones that count
	Wanted  int              `json:"wanted"` // clones that there are to be
	Size    int64            `json:"size"`   // bytes
	Blocked bool             `json:"blocked,omitempty"`
	Clones  []CloneLine      `json:"clones"`
	Steps   []clonetool.Step `json:"steps,omitempty"`
}

// CloneLine is one clone of it; what stands after Standing only with detail.
type CloneLine struct {
	Store    string `json:"store"`
	Standing string `json:"standing"` // of the store: good, suspect, draining, down, lost

	ID       string `json:"id,omitempty"` // of the store
	Ext      string `json:"ext,omitempty"`
	Size     int64  `json:"size,omitempty"`     // bytes
	Stored   int64  `json:"stored,omitempty"`   // milliseconds since 1970
	Verified int64  `json:"verified,omitempty"` // milliseconds since 1970
	Promised int64  `json:"promised,omitempty"` // until then it is not dropped, milliseconds since 1970
	Deep     bool   `json:"deep,omitempty"`     // lies where OOSE 2.x put it
}

// RepairAnswer tells what the node repairs.
type RepairAnswer struct {
	GivenUp []string `json:"givenUp,omitempty"` // stores that are taken for lost
	repair.Status
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
	Available bool               `json:"available"`
	Standing  heartbeat.Standing `json:"standing"` // what the heartbeat says of its node
}

// PeersAnswer tells who is in the cluster, and how this node is connected with
// the others.
type PeersAnswer struct {
	Peers       []PeerAnswer       `json:"peers"`
	Connections []swarm.Connection `json:"connections"`
	Conflict    string             `json:"conflict,omitempty"` // another live node has this node's name
}
