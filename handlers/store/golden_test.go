package store_test

import (
	"encoding/base64"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers/delivery"
	"github.com/ooseio/oose/handlers/handlertest"
	"github.com/ooseio/oose/handlers/store"
	"github.com/ooseio/oose/peer"
	"github.com/ooseio/oose/purchase"
)

// storeUser is the name in the store's own credentials.
const storeUser = "oose-store"

// newStore serves one store of a rig, with its public routes.
func newStore(t testing.TB, rig *handlertest.Rig, full string, compat bool) *httptest.Server {
	t.Helper()
	name, err := peer.ParseName(full)
	require.NoError(t, err)
	volume := rig.Store(t, name.Store)
	public := delivery.NewStoreSide(delivery.Deps{
		Book: rig.Book, Index: rig.Index, Registry: rig.Registry, Clock: rig.Clock, Log: rig.Log,
	}, volume, delivery.Settings{Compat: compat})
	return handlertest.Serve(t, store.New(store.Deps{
		Volume: volume, Uploader: rig.Uploader, Stores: rig, Peers: rig.Registry, Counters: rig.Counters,
		Clock: rig.Clock, Log: rig.Log, Public: public,
	}, store.Settings{
		Name: name, Version: "2.4.0", Basic: handlertest.Basic(t, storeUser), MaxSize: 1 << 20, Compat: compat,
	}))
}

func basicAuth(user string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + handlertest.Password))
}

// TestAgainstOOSE2 replays what was recorded of a store of OOSE 2.4 against
// ours with `compat 2.x`.
func TestAgainstOOSE2(t *testing.T) {
	rig := handlertest.New(t, "prism1:store1", "prism1:store2", "prism2:store3")
	store1, store3 := newStore(t, rig, "prism1:store1", true), newStore(t, rig, "prism2:store3", true)
	rig.Put(t, "store1", "bin", "store content A")
	rig.Put(t, "store1", "txt", "")
	rig.Put(t, "store1", "txt", handlertest.Fox)
	rig.Put(t, "store2", "txt", "only on store2")
	session := rig.Login(t)

	handlertest.Replay(t, "store", deviations, func(t *testing.T, x *handlertest.Exchange) (string, handlertest.Replacements) {
		base := store1.URL
		switch x.Name {
		case "store.send.check_target":
			base = store3.URL
		case "store.verify.corrupt_removed":
			spoil(t, rig, "vid", "mp4", "corrupted")
		case "store.remove.corrupt":
			spoil(t, rig, "dbl2", "txt", "corrupt")
		case "store.verify.inventory_without_file_again":
			require.NoError(t, os.Remove(clonePath(t, rig, "chunky", "txt")))
		}
		return base, handlertest.Replacements{
			"{store}", basicAuth(storeUser), "{prism}", basicAuth("oose-prism"), "{session}", session,
			"{token}", tokenFor(t, rig, x),
		}
	})
}

// tokenFor makes the purchase that an exchange is about.
func tokenFor(t *testing.T, rig *handlertest.Rig, x *handlertest.Exchange) string {
	spec := purchase.Spec{Hash: handlertest.HashOf(t, content.SHA1, handlertest.Fox), Ext: "txt", Life: time.Hour}
	switch x.Name {
	case "store.purchase_uri.content_not_on_this_store":
		spec.Hash = handlertest.HashOf(t, content.SHA1, "only on store2")
	case "store.purchase_uri.expired", "store.purchase_uri.expired_cached":
		spec.Life = time.Millisecond
		defer rig.Forward(time.Second)
	}
	return string(rig.Buy(t, spec))
}

// clonePath is where store1 keeps a clone.
func clonePath(t testing.TB, rig *handlertest.Rig, body, ext string) string {
	t.Helper()
	hash := handlertest.HashOf(t, content.SHA1, body).String()
	path := filepath.Join(rig.Store(t, "store1").Root(), "content", hash[:2], hash[2:4], hash+"."+ext)
	require.FileExists(t, path)
	return path
}

// spoil writes something else into the file of a clone in store1.
func spoil(t testing.TB, rig *handlertest.Rig, body, ext, with string) {
	t.Helper()
	path := clonePath(t, rig, body, ext)
	require.NoError(t, os.Chmod(path, 0o600))
	require.NoError(t, os.WriteFile(path, []byte(with), 0o600))
	later := time.Now().Add(time.Minute)
	require.NoError(t, os.Chtimes(path, later, later))
}
