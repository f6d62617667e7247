package handlers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/netip"

	"github.com/ooseio/oose/audit"
	"github.com/ooseio/oose/purchase"
)

// AuditHeader is set on the answer to a change that is made and not yet in the
// audit log, because that can't be written.
const AuditHeader = "OOSE-Audit"

// AuditDelayed is its value.
const AuditDelayed = "delayed"

// Audit writes an entry down before its answer leaves. That it could not is
// told and stops nothing. add may be nil.
func Audit(w http.ResponseWriter, add func(audit.Entry) error, e audit.Entry) {
	if add != nil && add(e) != nil { // the node's log has the entry and the cause
		w.Header().Set(AuditHeader, AuditDelayed)
	}
}

// AuditActor is who sends a request to a role: the user of a session, "" for
// none, else whose basic auth held, else a node of the cluster.
func AuditActor(r *http.Request, user string, client netip.Addr) audit.Actor {
	a := audit.Actor{Via: audit.Session, Who: user}
	if client.IsValid() {
		a.From = client.String()
	}
	if user != "" {
		return a
	}
	a.Via = audit.Node
	if name, _, ok, err := BasicCredentials(r); ok && err == nil {
		a.Via, a.Who = audit.Basic, name
	}
	return a
}

// AuditPurchase is the entry for a purchase that is about to be removed: its
// token's short form and SHA-256, and the content, where this node knows it.
func AuditPurchase(ctx context.Context, book *purchase.Book, token purchase.Token) audit.Entry {
	sum := sha256.Sum256([]byte(token))
	e := audit.Entry{Action: audit.PurchaseRemove, Token: token.Short(), Digest: hex.EncodeToString(sum[:])}
	if p, err := book.Find(ctx, token); err == nil {
		e.Hash = p.Hash.String()
	}
	return e
}
