package command

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/caddymodule/adminapi"
	"github.com/ooseio/oose/inventory"
)

func TestPurchaseCommand(t *testing.T) {
	var asked adminapi.PurchaseRequest
	address := fakeNode(t, map[string]http.HandlerFunc{
		"POST /oose/purchase": func(w http.ResponseWriter, r *http.Request) {
			require.Equal(t, "application/json", r.Header.Get("Content-Type"))
			require.NoError(t, json.NewDecoder(r.Body).Decode(&asked))
			answerWith(t, adminapi.PurchaseAnswer{Token: tokenA, Hash: asked.Hash, URL: "http://h/" + tokenA + "/m.mp4", Expires: "1795000000000"})(w, r)
		},
	})
	got := runCommand(t, address, "", "purchase", "--life", "7d", "--ext", "mp4", "--name", "m.mp4",
		"--referrer", "^https://a/", "--referrer", "b{2,3}", "--ip", "10.0.0.0/8", "--count", "3", strings.ToUpper(helloHash))
	require.NoError(t, got.failure, got.err)
	require.Equal(t, adminapi.PurchaseRequest{
		Hash: helloHash, Ext: "mp4", Name: "m.mp4", Referrer: []string{"^https://a/", "b{2,3}"},
		IP: []string{"10.0.0.0/8"}, Count: 3, Life: 7 * 24 * 3600 * 1000,
	}, asked)
	require.Contains(t, got.out, "url    http://h/"+tokenA+"/m.mp4\n")
	require.Contains(t, got.out, "until  ")

	got = runCommand(t, address, "", "purchase", "--json", helloHash)
	require.NoError(t, got.failure, got.err)
	require.Contains(t, got.out, `"expirationDate":"1795000000000"`)
}

func TestRevokeCommand(t *testing.T) {
	const tokenB = "b20261120QQQQQQQQQQQ"
	var removed []string
	address := fakeNode(t, map[string]http.HandlerFunc{
		"POST /oose/purchase/remove": func(w http.ResponseWriter, r *http.Request) {
			require.Empty(t, r.URL.RawQuery)
			var ask adminapi.RemoveRequest
			require.NoError(t, json.NewDecoder(r.Body).Decode(&ask))
			removed = append(removed, ask.Token)
			if ask.Token == tokenB {
				w.WriteHeader(http.StatusNotFound)
				io.WriteString(w, `{"error":"There is no such purchase"}`)
				return
			}
			answerWith(t, adminapi.RemoveAnswer{Token: ask.Token, Count: 1})(w, r)
		},
	})
	for name, run := range map[string]commandResult{
		"argument": runCommand(t, address, "", "revoke", tokenA),
		"URL":      runCommand(t, address, "", "revoke", "https://h/"+tokenA+"/movie.mp4?attach=x"),
		"stdin":    runCommand(t, address, "\n  "+tokenA+"\r\n", "revoke"),
		"dash":     runCommand(t, address, tokenA, "revoke", "-"),
	} {
		require.NoError(t, run.failure, name)
		require.Equal(t, "revoked  "+shortA+"\n", run.out, name)
	}
	require.Equal(t, []string{tokenA, tokenA, tokenA, tokenA}, removed)

	got := runCommand(t, address, tokenB+"\n"+tokenA+"\n", "revoke", "--json")
	require.Error(t, got.failure)
	require.Contains(t, got.err, "There is no such purchase")
	require.NotContains(t, got.err, tokenB)
	require.JSONEq(t, `{"token":"`+shortA+`","count":1}`, got.out, "the others are revoked all the same")

	for _, bad := range []string{tokenA + "x", tokenA[:19] + "-", "a20261399aaaaaaaaaaa"} {
		got := runCommand(t, address, bad, "revoke")
		require.Error(t, got.failure)
		require.NotContains(t, got.err, tokenA)
		require.NotContains(t, got.err, bad)
	}
	require.ErrorContains(t, runCommand(t, address, "", "revoke").failure, "no token was given")
}

func ndjson(t *testing.T, lines ...any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, line := range lines {
			answerWith(t, line)(w, r)
			require.NoError(t, http.NewResponseController(w).Flush())
		}
	}
}

func asResult(t *testing.T, v any) adminapi.StreamLine {
	text, err := json.Marshal(v)
	require.NoError(t, err)
	return adminapi.StreamLine{Result: text}
}

func TestScanCommand(t *testing.T) {
	progress := adminapi.StreamLine{Progress: &adminapi.ProgressLine{Store: "om101", ScanProgress: inventory.ScanProgress{Folders: 3, Files: 5}}}
	found := adminapi.ScanAnswer{Store: "om101", ScanResult: inventory.ScanResult{Files: 1234, Bytes: 5e6, Appeared: 2, Vanished: 1}}
	address := fakeNode(t, map[string]http.HandlerFunc{"POST /oose/scan": ndjson(t, progress, progress, asResult(t, found))})
	got := runCommand(t, address, "", "scan", "om101")
	require.NoError(t, got.failure, got.err)
	require.Equal(t, "om101: 1,234 files, 5.0 MB\n      2 appeared, recorded\n      1 vanished, records taken back\n", got.out)
	require.Empty(t, got.err, "no bar where there is no terminal")
	got = runCommand(t, address, "", "scan", "om101", "--json")
	require.Contains(t, got.out, `"appeared":2`)

	found.Failed = 1
	address = fakeNode(t, map[string]http.HandlerFunc{"POST /oose/scan": ndjson(t, asResult(t, found))})
	got = runCommand(t, address, "", "scan", "om101")
	require.EqualError(t, got.failure, "exiting with status 4")
	require.Contains(t, got.out, "now in quarantine")

	address = fakeNode(t, map[string]http.HandlerFunc{"POST /oose/scan": ndjson(t, progress, adminapi.StreamLine{Error: "the disk is gone"})})
	require.ErrorContains(t, runCommand(t, address, "", "scan", "om101").failure, "the disk is gone")

	address = fakeNode(t, map[string]http.HandlerFunc{"POST /oose/scan": ndjson(t, progress)})
	require.ErrorContains(t, runCommand(t, address, "", "scan", "om101").failure, "broke off")
}

func TestVerifyCommand(t *testing.T) {
	var asked adminapi.VerifyRequest
	found := adminapi.VerifyAnswer{Stores: []adminapi.StoreVerified{{Store: "om101", VerifyResult: inventory.VerifyResult{Verified: 3, Bytes: 2e9}}}}
	address := fakeNode(t, map[string]http.HandlerFunc{"POST /oose/verify": func(w http.ResponseWriter, r *http.Request) {
		asked = adminapi.VerifyRequest{}
		require.NoError(t, json.NewDecoder(r.Body).Decode(&asked))
		ndjson(t, asResult(t, found))(w, r)
	}})
	got := runCommand(t, address, "", "verify")
	require.NoError(t, got.failure, got.err)
	require.Equal(t, adminapi.VerifyRequest{}, asked)
	require.Regexp(t, `om101 +3 +2\.0 GB`, got.out)
	runCommand(t, address, "", "verify", "--force", "om101")
	require.Equal(t, adminapi.VerifyRequest{Store: "om101", Force: true}, asked)
	runCommand(t, address, "", "verify", helloHash)
	require.Equal(t, adminapi.VerifyRequest{Hash: helloHash}, asked)

	found.Failed, found.Stores[0].Hashes = 1, []string{helloHash}
	got = runCommand(t, address, "", "verify")
	require.EqualError(t, got.failure, "exiting with status 4")
	require.Contains(t, got.out, helloHash)
}

func TestInventoryCommand(t *testing.T) {
	list := []adminapi.InventoryLine{{Hash: helloHash, Ext: "txt", Size: 11, Stored: 1795000000000}, {Hash: helloHash, Ext: "mp4", Size: 2e9}}
	address := fakeNode(t, map[string]http.HandlerFunc{
		"GET /oose/inventory/om101": answerWith(t, list),
		"GET /oose/inventory/cut": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `[{"hash":"`+helloHash+`"}`)
		},
	})
	got := runCommand(t, address, "", "inventory", "om101")
	require.NoError(t, got.failure, got.err)
	require.Contains(t, got.out, helloHash+".txt")
	require.Contains(t, got.out, "verified never")
	require.True(t, strings.HasSuffix(got.out, "2 clones, 2.0 GB\n"), got.out)
	got = runCommand(t, address, "", "inventory", "om101", "--json")
	require.True(t, json.Valid([]byte(got.out)))
	require.ErrorContains(t, runCommand(t, address, "", "inventory", "cut").failure, "reading the answer")
}

func TestAdoptCommand(t *testing.T) {
	now := adminapi.AdoptAnswer{Store: "om101", Status: inventory.Status{State: inventory.Online, ID: "0123"}}
	address := fakeNode(t, map[string]http.HandlerFunc{"POST /oose/adopt": ndjson(t, asResult(t, now))})
	got := runCommand(t, address, "", "adopt", "om101")
	require.NoError(t, got.failure, got.err)
	require.Equal(t, "om101 is online, id 0123\n", got.out)
}

func TestUserCommands(t *testing.T) {
	var seen []string
	address := fakeNode(t, map[string]http.HandlerFunc{
		"/oose/users/{name}": func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			require.NoError(t, err)
			seen = append(seen, strings.TrimSpace(r.Method+" "+r.PathValue("name")+" "+r.Header.Get("If-Match")+"/"+r.Header.Get("If-None-Match")+" "+string(body)))
			answerWith(t, adminapi.UserAnswer{Name: r.PathValue("name")})(w, r)
		},
		"GET /oose/users": answerWith(t, adminapi.UsersAnswer{Users: []adminapi.UserAnswer{{Name: "alice", Declared: true}, {Name: "bob\x1b"}}}),
	})
	const password = `pass "word" `
	for _, args := range [][]string{{"user", "add", "böb/x"}, {"user", "passwd", "bob"}} {
		got := runCommand(t, address, password+"\nrest", args...)
		require.NoError(t, got.failure, got.err)
		require.NotContains(t, got.out+got.err, password)
		require.Contains(t, got.out, "password is set")
	}
	got := runCommand(t, address, "", "user", "remove", "bob", "--json")
	require.NoError(t, got.failure, got.err)
	require.JSONEq(t, `{"name":"bob","declared":false}`, got.out)
	require.Equal(t, []string{
		`PUT böb/x /* {"password":"pass \"word\" "}`,
		`PUT bob */ {"password":"pass \"word\" "}`,
		`DELETE bob /`,
	}, seen)

	got = runCommand(t, address, "", "user", "list")
	require.NoError(t, got.failure, got.err)
	require.Regexp(t, `alice +yes`, got.out)
	require.NotContains(t, got.out, "\x1b")

	got = runCommand(t, address, "\n", "user", "add", "bob")
	require.ErrorContains(t, got.failure, "it is empty")
}

func TestGroupHasEveryCommand(t *testing.T) {
	names := map[string]bool{}
	for _, c := range All() {
		cmd := subcommand(c)
		names[cmd.Name()] = true
		require.NotEmpty(t, cmd.Short)
		require.NotEmpty(t, cmd.Long)
	}
	for _, want := range []string{"put", "get", "purchase", "revoke", "status", "inventory", "scan", "verify", "adopt", "user", "peers", "export", "import", "block", "unblock", "audit", "clones", "drain", "undrain", "forget", "switch"} {
		require.True(t, names[want], want)
	}
	require.Len(t, names, 21, "commands of later parts are not registered before they work")
}
