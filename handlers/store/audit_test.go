package store_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/audit"
	"github.com/ooseio/oose/handlers/handlertest"
	"github.com/ooseio/oose/handlers/store"
	"github.com/ooseio/oose/peer"
)

func TestAudit(t *testing.T) {
	rig := handlertest.New(t, "prism1:store1", "prism1:store2")
	var entries []audit.Entry
	name, err := peer.ParseName("prism1:store1")
	require.NoError(t, err)
	s := &site{rig, handlertest.Serve(t, store.New(store.Deps{
		Volume: rig.Store(t, "store1"), Uploader: rig.Uploader, Stores: rig, Peers: rig.Registry, Counters: rig.Counters,
		Clock: rig.Clock, Log: rig.Log,
		Audit: func(e audit.Entry) error {
			entries = append(entries, e)
			return nil
		},
	}, store.Settings{Name: name, Basic: handlertest.Basic(t, storeUser)})).URL}
	h := s.Put(t, "store1", "txt", "a note")
	require.Equal(t, 200, s.post(t, "/content/send", fmt.Sprintf(`{"file":"%s.txt","store":"prism1:store2"}`, h)).Status)
	require.Equal(t, 200, s.post(t, "/content/remove", fmt.Sprintf(`{"hash":%q}`, h)).Status)
	require.Equal(t, 404, s.post(t, "/content/remove", fmt.Sprintf(`{"hash":%q}`, h)).Status)
	by := audit.Actor{Via: audit.Basic, Who: storeUser, From: "127.0.0.1"}
	require.Equal(t, []audit.Entry{
		{Action: audit.CloneAdd, Actor: by, Hash: h.String(), Store: "prism1:store2"},
		{Action: audit.CloneDrop, Actor: by, Hash: h.String(), Store: "prism1:store1", StoreID: rig.Store(t, "store1").ID()},
	}, entries)
}
