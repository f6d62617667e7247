package prism_test

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers/delivery"
	"github.com/ooseio/oose/handlers/handlertest"
	"github.com/ooseio/oose/handlers/prism"
	"github.com/ooseio/oose/peer"
	"github.com/ooseio/oose/purchase"
)

// prismUser is the name in the prism's own credentials.
const prismUser = "oose-prism"

func deps(rig *handlertest.Rig) prism.Deps {
	return prism.Deps{
		Book: rig.Book, Index: rig.Index, Users: rig.Users, Sessions: rig.Sessions, Uploader: rig.Uploader,
		Stores: rig, Peers: rig.Registry, Counters: rig.Counters, Clock: rig.Clock, Log: rig.Log,
	}
}

func settings(t testing.TB) prism.Settings {
	t.Helper()
	return prism.Settings{
		Name: peer.Name{Prism: "prism1"}, Version: "2.4.0", Basic: handlertest.Basic(t, prismUser), Copies: 2, MaxSize: 1 << 30,
	}
}

func basicAuth(user string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + handlertest.Password))
}

// TestAgainstOOSE2 replays what was recorded of a prism of OOSE 2.4 against
// ours with `compat 2.x`, with delivery on the same site.
func TestAgainstOOSE2(t *testing.T) {
	rig := handlertest.New(t, "prism1:store1", "prism1:store2", "prism2:store3", "prism2:store4")
	set := settings(t)
	set.Compat, set.RetrievePrivate = true, true
	deliver := delivery.New(delivery.Deps{
		Book: rig.Book, Index: rig.Index, Stores: rig, Registry: rig.Registry, Clock: rig.Clock, Log: rig.Log,
	}, delivery.Settings{Redirect: true, Compat: true, StoreURL: func(id string) (string, bool) {
		p, ok := rig.Registry.Lookup(id)
		return "https://" + p.Name.Store + ".oose-test", ok
	}})
	server := handlertest.Serve(t, prism.New(deps(rig), set), deliver)
	remote := remoteServer(t)

	for _, store := range []string{"store1", "store3"} {
		rig.Put(t, store, "txt", handlertest.Fox)
		rig.Put(t, store, "mp4", handlertest.UnknownMP4)
	}
	session := rig.Login(t)
	mp4 := handlertest.HashOf(t, content.SHA1, handlertest.UnknownMP4).String()
	jpeg := handlertest.HashOf(t, content.SHA1, handlertest.UnknownJPEG).String()
	handlertest.Replay(t, "prism", deviations, func(t *testing.T, x *handlertest.Exchange) (string, handlertest.Replacements) {
		known := handlertest.Replacements{
			"{prism}", basicAuth(prismUser), "{store}", basicAuth("oose-store"),
			"http://127.0.0.1:25001", remote.URL,
			"d6d9847ca6ef393b9848a887804a337d14230e36", mp4, "010d72b5f5e04195679f4a42bf6ba39300f6c6df", jpeg,
			"d6/d9/84/7c/a6/ef/39/3b/98/48/a8/87/80/4a/33/7d/14/23/0e/36", pairs(mp4),
		}
		switch x.Name {
		case "prism.session_validate.token_malformed_authsession", "prism.session_validate.token_forged_signature",
			"prism.session_validate.token_unknown_user", "prism.session_validate.bad_token_with_good_basic", "prism.logout.bad_token":
			known = append(known, "{session}", "no session of ours")
		case "prism.session_validate.token_expired", "prism.logout.token_still_valid_afterwards", "prism.purchase.expired_token_accepted":
			ended := rig.Login(t)
			require.NoError(t, rig.Sessions.Logout(context.Background(), ended))
			known = append(known, "{session}", ended)
		default:
			known = append(known, "{session}", session)
		}
		return server.URL, append(known, "{token}", tokenFor(t, rig, x))
	})
}

func pairs(hash string) string {
	var b strings.Builder
	for i := 0; i < len(hash); i += 2 {
		if i > 0 {
			b.WriteByte('/')
		}
		b.WriteString(hash[i : i+2])
	}
	return b.String()
}

// tokenFor makes the purchase that an exchange is about.
func tokenFor(t *testing.T, rig *handlertest.Rig, x *handlertest.Exchange) string {
	spec := purchase.Spec{
		Hash: handlertest.HashOf(t, content.SHA1, handlertest.Fox), Ext: "txt", Referrer: []string{"localhost"}, Life: time.Hour,
	}
	switch {
	case x.Name == "prism.deliver.unknown_token":
		return "a" + time.Now().UTC().Format("20060102") + "abcdefghijk"
	case x.Name == "prism.deliver.token_unknown_zone":
		return "9" + time.Now().UTC().Format("20060102") + "abcdefghijk"
	case strings.HasPrefix(x.Name, "prism.deliver.video"):
		spec.Hash, spec.Ext = handlertest.HashOf(t, content.SHA1, handlertest.UnknownMP4), "mp4"
	case strings.HasPrefix(x.Name, "prism.deliver.referrer_empty_array"):
		spec.Referrer = nil
	case strings.HasPrefix(x.Name, "prism.deliver.regex"):
		spec.Referrer = []string{`^https?://([a-z]+\.)?example\.com/`}
	}
	token := rig.Buy(t, spec)
	if x.Name == "prism.deliver.after_remove_cache_cleared" {
		require.NoError(t, rig.Book.Revoke(context.Background(), token))
	}
	return string(token)
}

// remoteServer is the other server of the recorded fetches.
func remoteServer(t *testing.T) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/remote.txt", "/need":
			_, _ = io.WriteString(w, "remote content")
		case "/redir":
			http.Redirect(w, r, "/remote.txt", http.StatusFound)
		case "/empty":
		case "/cut":
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "short")
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}
