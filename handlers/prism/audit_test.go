package prism_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/audit"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/handlertest"
	"github.com/ooseio/oose/handlers/prism"
	"github.com/ooseio/oose/purchase"
)

func TestAudit(t *testing.T) {
	var entries []audit.Entry
	var failure error
	s := newSite(t, func(d *prism.Deps, _ *prism.Settings) {
		d.Audit = func(e audit.Entry) error {
			entries = append(entries, e)
			return failure
		}
	})
	h := s.Put(t, "store1", "txt", "a note")
	token := s.Buy(t, purchase.Spec{Hash: h, Ext: "txt", Life: time.Hour})
	require.Equal(t, 200, s.post(t, "/content/purchase/remove", `{"token":"`+string(token)+`"}`).Status)
	sum := sha256.Sum256([]byte(token))
	user := audit.Actor{Via: audit.Session, Who: handlertest.User, From: "127.0.0.1"}
	require.Equal(t, []audit.Entry{{
		Action: audit.PurchaseRemove, Actor: user, Token: token.Short(), Digest: hex.EncodeToString(sum[:]), Hash: h.String(),
	}}, entries)

	entries = nil
	require.Equal(t, 404, s.post(t, "/content/purchase/remove", `{"token":"`+string(token)+`"}`).Status)
	require.Empty(t, entries, "nothing was changed")

	failure = errors.New("no room")
	answer := handlertest.Post(t, s.url+"/content/remove", `{"hash":"`+h.String()+`"}`, "Authorization", "Basic "+basicAuth(prismUser))
	require.Equal(t, 200, answer.Status, "what can't be written down is done all the same")
	require.Equal(t, handlers.AuditDelayed, answer.Header.Get(handlers.AuditHeader), "and the caller is told")
	require.Equal(t, []audit.Entry{{
		Action: audit.ContentRemove, Actor: audit.Actor{Via: audit.Basic, Who: prismUser, From: "127.0.0.1"}, Hash: h.String(), Count: 1,
	}}, entries)
}
