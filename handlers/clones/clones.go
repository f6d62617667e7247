// Package clones moves clones between nodes: both ends of reading one, writing
// one and renewing one, over HTTP. Its callers have seen to it that who asks
// is a node of the cluster.
//
//	GET    /cluster/clone/<hash>?store=<id>    a clone's bytes; ranges as RFC 9110 has them
//	POST   /cluster/upload/<id>                {store, size, type}: begins an upload
//	PUT    /cluster/upload/<id>                its bytes → {hash, size}, when all of them are written
//	HEAD   /cluster/upload/<id>                it is still wanted, be its client slow
//	POST   /cluster/upload/<id>/commit         {hash, ext, kept} → {clone, records}: the clone is durable
//	DELETE /cluster/upload/<id>                all of it is taken back
//	POST   /cluster/renew                      {store, hash} → {clone, records}
//
// An upload has an id of its own because what its bytes are is known only at
// their end: the prism streams them to all stores, and each store tells the
// digest of what came there. What is not committed is no clone, and goes when
// its client does not come back.
//
// What it promises:
//   - A clone is committed under the hash that this store itself computed.
//   - A reader is never left waiting: a body without a byte for a while fails,
//     and one that ends early is an error.
//   - Memory is constant, and everything that comes from the other end is
//     bounded: sizes, counts and times.
package clones

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/record"
)

// The paths between nodes; what mounts a Server gives it all that begins with these.
const (
	ClonePath  = "/cluster/clone/"
	UploadPath = "/cluster/upload/"
	RenewPath  = "/cluster/renew"
)

// Errors on which callers decide, beside those of inventory.
var (
	// ErrStalled says that the other node sent nothing, or took nothing, for too long.
	ErrStalled = errors.New("the other node has stalled")
	// ErrAnswer says that the other node answered what it should not.
	ErrAnswer = errors.New("unexpected answer of another node")
	// ErrClosed says that the client is closing.
	ErrClosed = errors.New("client of other nodes is closed")
)

// Doer sends a request to another node, signed. *cluster.Client is one.
type Doer interface {
	Do(r *http.Request) (*http.Response, error)
}

// Index answers who holds what. *inventory.Index is one.
type Index interface {
	Find(ctx context.Context, h content.Hash) (*inventory.Placement, error)
}

// Bounds of what the two ends send each other.
const (
	maxQuestion = 4 << 10 // bytes of a JSON question
	maxAnswer   = 1 << 20 // bytes of a JSON answer: the versions of one record
	maxRecords  = 64      // versions of one inventory record
	maxID       = 64      // bytes of an upload's id
)

// What the two ends send each other.
type (
	beginMessage struct {
		Store string `json:"store"`
		Size  int64  `json:"size"` // bytes, -1: not known
		Type  string `json:"type"` // of the digest
	}
	wholeMessage struct {
		Hash string `json:"hash"` // of what came
		Size int64  `json:"size"`
	}
	commitMessage struct {
		Hash string      `json:"hash"`
		Ext  string      `json:"ext"`
		Kept record.Time `json:"kept,omitempty"` // of the clone that this is a copy of; 0: it is an upload
	}
	renewMessage struct {
		Store string `json:"store"`
		Hash  string `json:"hash"`
	}
	// cloneMessage is a clone, with all versions of the store's inventory record.
	cloneMessage struct {
		Clone   inventory.Clone `json:"clone"`
		Records []record.Record `json:"records"`
	}
	faultMessage struct {
		Error string `json:"error"`
		Kind  string `json:"kind"` // see kinds
	}
)

// kinds are the errors that the client is told by name, with their statuses.
var kinds = []struct {
	err    error
	name   string
	status int
}{
	{inventory.ErrNotExist, "unknown", http.StatusNotFound},
	{inventory.ErrChanged, "changed", http.StatusNotFound},
	{inventory.ErrMismatch, "mismatch", http.StatusConflict},
	{inventory.ErrRemoved, "removed", http.StatusConflict},
	{inventory.ErrCollision, "collision", http.StatusUnprocessableEntity},
	{inventory.ErrBlocked, "blocked", http.StatusForbidden},
	{inventory.ErrFull, "full", http.StatusInsufficientStorage},
	{inventory.ErrReadOnly, "read-only", http.StatusServiceUnavailable},
	{inventory.ErrSuspect, "suspect", http.StatusServiceUnavailable},
	{inventory.ErrOffline, "offline", http.StatusServiceUnavailable},
	{record.ErrUnavailable, "unavailable", http.StatusServiceUnavailable},
	{errNoUpload, "no upload", http.StatusNotFound},
	{errBusy, "busy", http.StatusServiceUnavailable},
	{io.ErrUnexpectedEOF, "short", http.StatusBadRequest},
	{errMalformed, "malformed", http.StatusBadRequest},
	{content.ErrInvalidHash, "malformed", http.StatusBadRequest},
	{content.ErrInvalidExt, "malformed", http.StatusBadRequest},
}

var (
	errNoUpload  = errors.New("no such upload")
	errBusy      = errors.New("too many uploads at once")
	errMalformed = errors.New("malformed question")
)

// refuse answers a failure.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	kind, status := "internal", http.StatusInternalServerError
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			kind, status = k.name, k.status
			break
		}
	}
	text := err.Error()
	if len(text) > 500 {
		text = text[:500]
	}
	w.Header().Set("Cache-Control", "no-store")
	_ = handlers.WriteJSON(w, r, status, faultMessage{Error: text, Kind: kind}) // a node that is gone needs no answer
}

// errorOf is what an answer that refuses says.
func errorOf(m faultMessage) error {
	for _, k := range kinds {
		if k.name == m.Kind {
			return k.err
		}
	}
	return ErrAnswer
}

// How long an end waits for the other.
const (
	// stallAfter is for how long a clone's body may bring no byte while it is read.
	stallAfter = 5 * time.Second
	// answerAfter is how long a question may take that needs no more than a look at a disk.
	answerAfter = 5 * time.Second
)
