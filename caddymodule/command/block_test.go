package command

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/audit"
	"github.com/ooseio/oose/caddymodule/adminapi"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/inventory"
)

const otherHash = "7c211433f02071597741e6ff5a8ea34789abbf43" // of "world"

func TestBlockCommands(t *testing.T) {
	var asked []adminapi.BlockRequest
	take := func(unchanged ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			var ask adminapi.BlockRequest
			require.NoError(t, json.NewDecoder(r.Body).Decode(&ask))
			asked = append(asked, ask)
			ndjson(t, adminapi.StreamLine{Warning: "no room for the log"}, asResult(t, adminapi.BlockAnswer{Hashes: ask.Hash, Unchanged: unchanged, Copies: 2}))(w, r)
		}
	}
	address := fakeNode(t, map[string]http.HandlerFunc{
		"POST /oose/block": take(), "POST /oose/unblock": take(otherHash),
		"GET /oose/blocks": answerWith(t, adminapi.BlocksAnswer{Blocks: []adminapi.BlockLine{
			{Hash: helloHash, Block: inventory.Block{Reason: "a \x1bcourt", By: "admin:root", At: 1795000000000, Hidden: true}},
		}}),
	})
	got := runCommand(t, address, "", "block", "--reason", "a court", "--hide", strings.ToUpper(helloHash)+".mp4")
	require.NoError(t, got.failure, got.err)
	require.Equal(t, []adminapi.BlockRequest{{Hash: []string{helloHash}, Reason: "a court", Hidden: true}}, asked)
	require.Equal(t, "blocked  "+helloHash+"\nknown at 2 nodes already\n", got.out)
	require.Equal(t, "Warning: no room for the log\n", got.err)

	asked = nil
	file := filepath.Join(t.TempDir(), "hashes")
	require.NoError(t, os.WriteFile(file, []byte("# taken down\n"+helloHash+".mp4  a film\n\n"+helloHash+"\r\n"), 0o600))
	got = runCommand(t, address, "", "block", "--input", file, "--json", otherHash)
	require.NoError(t, got.failure, got.err)
	require.Equal(t, []adminapi.BlockRequest{{Hash: []string{helloHash, otherHash}}}, asked)
	require.JSONEq(t, `{"hashes":["`+helloHash+`","`+otherHash+`"],"copies":2}`, got.out)

	got = runCommand(t, address, helloHash, "unblock", "--input", "-")
	require.ErrorContains(t, got.failure, "not blocked, as far as this node knows: "+otherHash)
	require.Contains(t, got.out, "unblocked  "+helloHash)

	got = runCommand(t, address, "", "block", "--list")
	require.NoError(t, got.failure, got.err)
	require.Regexp(t, helloHash+`  .*  admin:root  404 +a \?court`, got.out)
	got = runCommand(t, address, "", "block", "--list", "--json")
	require.Contains(t, got.out, `"hidden":true`)

	for want, args := range map[string][]string{
		"no hash was given": {"block"}, "is not a hash": {"block", "abc"}, "name no hashes": {"block", "--list", helloHash},
		"no such file": {"block", "--input", file + "x"},
	} {
		require.ErrorContains(t, runCommand(t, address, "", args...).failure, want)
	}
}

func TestAuditCommand(t *testing.T) {
	at := time.Date(2026, 11, 20, 12, 0, 0, 123e6, time.UTC)
	entries := []audit.Entry{
		{Time: at, Node: "edge1", Action: audit.UserAdd, Actor: audit.Actor{Via: audit.Admin, System: "root", From: "unix"}, User: "b\x1bob"},
		{Time: at.Add(time.Second), Node: "edge1", Action: audit.PurchaseRemove, Actor: audit.Actor{Via: audit.Session, Who: "alice", From: "192.0.2.1"}, Token: shortA, Hash: helloHash},
	}
	var queries []string
	address := fakeNode(t, map[string]http.HandlerFunc{"GET /oose/audit": func(w http.ResponseWriter, r *http.Request) {
		queries = append(queries, r.URL.RawQuery)
		for _, e := range entries {
			answerWith(t, e)(w, r)
		}
	}})
	got := runCommand(t, address, "", "audit")
	require.NoError(t, got.failure, got.err)
	require.Regexp(t, `^\S+ \S+ \S+  user.add         user b\?ob  by admin:root  from unix  at edge1\n`, got.out)
	require.Contains(t, got.out, "purchase.remove  "+shortA+"  "+helloHash+"  by session:alice  from 192.0.2.1  at edge1\n")
	got = runCommand(t, address, "", "audit", "--json", "--since", "2026-11-20T12:00:00Z")
	require.Equal(t, []string{"", "since=1795176000000"}, queries)
	var first audit.Entry
	require.NoError(t, json.Unmarshal([]byte(strings.SplitN(got.out, "\n", 2)[0]), &first))
	require.Equal(t, entries[0], first)
	require.ErrorContains(t, runCommand(t, address, "", "audit", "--since", "lately").failure, "use a time as")

	now := at.Add(time.Hour)
	for text, want := range map[string]time.Time{"1h": at, "1d": now.Add(-24 * time.Hour)} {
		got, err := parseSince(text, now)
		require.NoError(t, err)
		require.True(t, got.Equal(want), text)
	}
	for _, text := range []string{"2026-11-20", "2026-11-20 12:00", "2026-11-20T12:00"} {
		_, err := parseSince(text, now)
		require.NoError(t, err)
	}
}

// TestWarnsOfTheAuditLog: what was done and not written down is told.
func TestWarnsOfTheAuditLog(t *testing.T) {
	address := fakeNode(t, map[string]http.HandlerFunc{"DELETE /oose/users/{name}": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(handlers.AuditHeader, handlers.AuditDelayed)
		answerWith(t, adminapi.UserAnswer{Name: "bob"})(w, r)
	}})
	got := runCommand(t, address, "", "user", "remove", "bob")
	require.NoError(t, got.failure)
	require.Contains(t, got.err, "Warning: the node's audit log can't be written")
}
