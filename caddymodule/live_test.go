package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/caddymodule/adminapi"
	"github.com/ooseio/oose/integration/freeport"
)

const (
	helloHash = "2aae6c35c94fcfb415dbe95f408b9ce91ee846ed" // of "hello world"
	worldBody = "hello world"
	someToken = "a20261120a7ch2nx9djn"
)

// commandResult is what a command has come to.
type commandResult struct {
	out, err string
	failure  error
}

// runCommand runs one of the commands against the admin API at address.
func runCommand(address, stdin string, args ...string) commandResult {
	root := &cobra.Command{Use: "oose", SilenceUsage: true}
	for _, c := range Commands() {
		cmd := &cobra.Command{Use: c.Name}
		c.CobraFunc(cmd)
		root.AddCommand(cmd)
	}
	var out, errs bytes.Buffer
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetArgs(append(args, "--address", address))
	failure := root.Execute()
	return commandResult{out.String(), errs.String(), failure}
}

// liveNode is a Caddy that runs in this process, with a node of two stores. A
// process has one Caddy, so tests with one don't run in parallel.
type liveNode struct {
	t     *testing.T
	dir   string
	admin string // address of the admin API
	site  string // address of the site
}

// startLive starts a node and waits until its stores are ready.
func startLive(t *testing.T) *liveNode {
	t.Helper()
	n := &liveNode{t: t, dir: t.TempDir(), admin: freeport.Address(t), site: freeport.Address(t)}
	n.load(`{}`)
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	require.Eventually(t, func() bool {
		var now adminapi.StatusAnswer
		n.getJSON("/oose/status", &now)
		for _, s := range now.Stores {
			if !s.Writable || !s.Scanned {
				return false
			}
		}
		return len(now.Stores) == 2
	}, 20*time.Second, 10*time.Millisecond)
	return n
}

// eventNotes is a handler of events that notes which stores they were about.
type eventNotes struct{}

var notedEvents sync.Map // "event store" -> nil

func init() { caddy.RegisterModule(eventNotes{}) }

func (eventNotes) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.oose_test", New: func() caddy.Module { return new(eventNotes) }}
}

func (eventNotes) Handle(_ context.Context, e caddy.Event) error {
	notedEvents.Store(fmt.Sprint(e.Name(), " ", e.Data["store"]), nil)
	return nil
}

// load loads a configuration; more is settings of the node beside the usual.
func (n *liveNode) load(more string) {
	n.t.Helper()
	settings := map[string]any{}
	require.NoError(n.t, json.Unmarshal([]byte(more), &settings))
	settings["data"] = filepath.Join(n.dir, "data")
	settings["domain"] = "oose.test"
	settings["users"] = map[string]string{"declared": "$2a$04$S1Lm5nWZl1FNwDVYQWJQ5.gGp3VXnLsDeUWhMbNLZNOqFWCYcdVAa"}
	stores, _ := settings["stores"].([]any)
	for _, name := range []string{"om101", "om102"} {
		stores = append(stores, map[string]any{"name": name, "root": filepath.Join(n.dir, name), "reserve": "1MB"})
	}
	settings["stores"] = stores
	fields := map[string]any{
		"request>uri":                  map[string]string{"filter": "oose_token"},
		"resp_headers>Location":        map[string]string{"filter": "oose_token"},
		"request>headers>Referer":      map[string]string{"filter": "delete"},
		"request>headers>X-Oose-Token": map[string]string{"filter": "delete"},
	}
	config := map[string]any{
		"admin":   map[string]any{"listen": n.admin, "config": map[string]any{"persist": false}},
		"storage": map[string]any{"module": "file_system", "root": filepath.Join(n.dir, "caddy")},
		"logging": map[string]any{"logs": map[string]any{"default": map[string]any{
			"level":   "DEBUG",
			"writer":  map[string]any{"output": "file", "filename": filepath.Join(n.dir, "log")},
			"encoder": map[string]any{"format": "filter", "wrap": map[string]any{"format": "json"}, "fields": fields},
		}}},
		"apps": map[string]any{
			"oose": settings,
			"events": map[string]any{"subscriptions": []any{map[string]any{
				"events": []string{"store_online", "store_offline"}, "handlers": []any{map[string]string{"handler": "oose_test"}},
			}}},
			"http": map[string]any{"servers": map[string]any{"site": map[string]any{
				"listen": []string{n.site}, "logs": map[string]any{}, "automatic_https": map[string]any{"disable": true},
				"routes": []any{map[string]any{"handle": []any{
					map[string]any{"handler": "oose_purchase"}, map[string]any{"handler": "oose_prism", "name": "prism1"},
				}}},
			}}},
		},
	}
	text, err := json.Marshal(config)
	require.NoError(n.t, err)
	require.NoError(n.t, caddy.Load(text, true))
}

// run runs a command against the node.
func (n *liveNode) run(args ...string) commandResult {
	got := runCommand(n.admin, "", args...)
	if got.failure != nil {
		log, _ := os.ReadFile(filepath.Join(n.dir, "log"))
		n.t.Logf("%s: %s\n%s", args, got.err, log[max(0, len(log)-1500):])
	}
	return got
}

// must runs a command that has to succeed.
func (n *liveNode) must(args ...string) commandResult {
	n.t.Helper()
	got := n.run(args...)
	require.NoError(n.t, got.failure, got.err)
	return got
}

// ask sends a request to the admin API.
func (n *liveNode) ask(method, path, body string) (int, string, http.Header) {
	n.t.Helper()
	r, err := http.NewRequestWithContext(n.t.Context(), method, "http://"+n.admin+path, strings.NewReader(body))
	require.NoError(n.t, err)
	resp, err := http.DefaultTransport.RoundTrip(r)
	require.NoError(n.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(n.t, err)
	return resp.StatusCode, string(text), resp.Header
}

func (n *liveNode) getJSON(path string, v any) {
	n.t.Helper()
	status, body, _ := n.ask(http.MethodGet, path, "")
	require.Equal(n.t, http.StatusOK, status, body)
	require.NoError(n.t, json.Unmarshal([]byte(body), v), body)
}

// fetch gets a URL of the site.
func (n *liveNode) fetch(address string) (int, string) {
	n.t.Helper()
	resp, err := http.Get(address)
	require.NoError(n.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(n.t, err)
	return resp.StatusCode, string(body)
}

// file makes a file with some text.
func (n *liveNode) file(name, text string) string {
	path := filepath.Join(n.dir, name)
	require.NoError(n.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// put stores a text and returns what the command answered.
func (n *liveNode) put(name, text string) adminapi.PutAnswer {
	n.t.Helper()
	var got adminapi.PutAnswer
	require.NoError(n.t, json.Unmarshal([]byte(n.must("put", "--json", n.file(name, text)).out), &got))
	return got
}

func TestLivePutAndPlay(t *testing.T) {
	n := startLive(t)
	got := n.put("hello world.txt", worldBody)
	require.Equal(t, helloHash, got.Hash)
	require.Equal(t, 2, got.Durability)
	require.Equal(t, "txt", got.Ext)
	require.True(t, strings.HasPrefix(got.URL, "http://"+n.site+"/a20"), got.URL)
	require.True(t, strings.HasSuffix(got.URL, "/hello%20world.txt"), got.URL)
	status, body := n.fetch(got.URL)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, worldBody, body)

	require.Equal(t, worldBody, n.must("get", helloHash).out)
	out := filepath.Join(n.dir, "out")
	n.must("get", helloHash, out)
	require.FileExists(t, out)
	status, body, header := n.ask(http.MethodGet, "/oose/content/"+helloHash, "")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, worldBody, body)
	require.Equal(t, `"`+helloHash+`"`, header.Get("ETag"))

	made := n.must("purchase", "--json", "--life", "1h", "--name", "../a b.txt", helloHash).out
	var bought adminapi.PurchaseAnswer
	require.NoError(t, json.Unmarshal([]byte(made), &bought))
	require.True(t, strings.HasSuffix(bought.URL, "/a%20b.txt"), bought.URL)
	status, body = n.fetch(bought.URL)
	require.Equal(t, http.StatusOK, status, body)
	n.must("revoke", bought.URL)
	status, _ = n.fetch(bought.URL)
	require.Equal(t, http.StatusNotFound, status)
	again := n.run("revoke", bought.Token)
	require.ErrorContains(t, again.failure, "no such purchase")

	// What the command was told is not in any log.
	log, err := os.ReadFile(filepath.Join(n.dir, "log"))
	require.NoError(t, err)
	first, err := url.Parse(got.URL)
	require.NoError(t, err)
	for _, token := range []string{bought.Token, strings.Split(first.Path, "/")[1]} {
		require.NotContains(t, string(log), token)
		require.NotContains(t, string(log), token[9:])
	}
	require.Contains(t, string(log), bought.Token[:9]+"~")
}

func TestLiveStores(t *testing.T) {
	n := startLive(t)
	got := n.put("movie.mp4", "not really a movie")
	list := n.must("inventory", "om101").out
	require.Contains(t, list, got.Hash+".mp4")
	require.Contains(t, list, "1 clone, ")
	n.put("other.bin", "other")
	require.True(t, json.Valid([]byte(n.must("inventory", "om102", "--json").out)))

	status := n.must("status").out
	for _, want := range []string{"om101", "om102", "online", "oose.test", "http://" + n.site, "prism1"} {
		require.Contains(t, status, want)
	}
	var peers struct{ Peers []adminapi.PeerAnswer }
	require.Eventually(t, func() bool {
		n.getJSON("/oose/peers", &peers)
		return len(peers.Peers) == 3
	}, 10*time.Second, 10*time.Millisecond)

	// A file that appeared behind our back is found by a scan.
	path := filepath.Join(n.dir, "om101", "content", helloHash[:2], helloHash[2:4], helloHash+".txt")
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(worldBody), 0o644))
	require.Contains(t, n.must("scan", "om101").out, "1 appeared, recorded")
	require.Contains(t, n.must("verify", "--force", "om101").out, "om101")

	// A flipped byte is found by a verification.
	require.NoError(t, os.Chmod(path, 0o644))
	require.NoError(t, os.WriteFile(path, []byte("hello World"), 0o644))
	bad := n.run("verify", "--force", helloHash)
	require.EqualError(t, bad.failure, "exiting with status 4", bad.err)
	require.Contains(t, bad.out, helloHash)
	gone := n.run("verify", "--force", helloHash)
	require.ErrorContains(t, gone.failure, "No store of this node holds")
	require.Error(t, n.run("get", helloHash).failure)

	n.must("adopt", "om101")
	_, metrics, _ := n.ask(http.MethodGet, "/metrics", "")
	for _, want := range []string{
		`caddy_oose_store_up{store="om101"} 1`, `caddy_oose_store_files{store="om102"} 2`,
		`caddy_oose_upload_bytes_total{role="admin"} 23`, "caddy_oose_journal_commits_total", "caddy_oose_active_streams 0",
	} {
		require.Contains(t, metrics, want)
	}
}

func TestLiveUsers(t *testing.T) {
	n := startLive(t)
	with := func(stdin string, args ...string) commandResult { return runCommand(n.admin, stdin, args...) }
	require.NoError(t, with("first password\n", "user", "add", "alice").failure)
	require.ErrorContains(t, with("x\n", "user", "add", "alice").failure, "already")
	require.ErrorContains(t, with("x\n", "user", "passwd", "bob").failure, `no user "bob"`)
	require.NoError(t, with("second password\n", "user", "passwd", "alice").failure)
	for _, args := range [][]string{{"user", "passwd", "declared"}, {"user", "remove", "declared"}} {
		require.ErrorContains(t, with("x\n", args...).failure, "stands in the configuration")
	}
	// Each password costs seconds of bcrypt in a race build: one login is enough.
	login := func(password string) int {
		body := fmt.Sprintf(`{"username":"alice","password":%q}`, password)
		resp, err := http.Post("http://"+n.site+"/user/login", "application/json", strings.NewReader(body))
		require.NoError(t, err)
		resp.Body.Close()
		return resp.StatusCode
	}
	require.Equal(t, http.StatusOK, login("second password"))
	require.Regexp(t, `alice +no\ndeclared +yes`, n.must("user", "list").out)
	n.must("user", "remove", "alice")
	require.NotContains(t, n.must("user", "list").out, "alice")
	log, err := os.ReadFile(filepath.Join(n.dir, "log"))
	require.NoError(t, err)
	require.NotContains(t, string(log), "second password")
}

func TestLiveRefusals(t *testing.T) {
	n := startLive(t)
	big := `{"hash":"` + strings.Repeat("a", 1<<20) + `"}`
	for _, tt := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/oose/purchase", `{"hash":`, 400},
		{"POST", "/oose/purchase", `[]`, 400},
		{"POST", "/oose/purchase", `{"hash":5}`, 400},
		{"POST", "/oose/purchase", big, 413},
		{"POST", "/oose/purchase", `{"hash":"xyz"}`, 422},
		{"POST", "/oose/purchase", `{"hash":"` + helloHash + `"}`, 404},
		{"POST", "/oose/purchase", `{"hash":"` + helloHash + `","life":-1}`, 400},
		{"POST", "/oose/purchase/remove", `{"token":"nonsense"}`, 400},
		{"POST", "/oose/purchase/remove", `{"token":"` + someToken + `"}`, 404},
		{"POST", "/oose/put?hash=sha3", "x", 400},
		{"POST", "/oose/put?life=soon", "x", 400},
		{"POST", "/oose/scan", `{}`, 400},
		{"POST", "/oose/scan", `{"store":"nope"}`, 404},
		{"POST", "/oose/adopt", `{"store":"nope"}`, 404},
		{"POST", "/oose/verify", `{"hash":"../x"}`, 422},
		{"POST", "/oose/verify", `{"hash":"` + helloHash + `"}`, 404},
		{"GET", "/oose/inventory/nope", "", 404},
		{"GET", "/oose/content/" + helloHash, "", 404},
		{"GET", "/oose/content/..%2fetc", "", 422},
		{"PUT", "/oose/users/a%2fb", `{"password":"x"}`, 400},
		{"PUT", "/oose/users/alice", `{"password":""}`, 400},
		{"PUT", "/oose/users/alice", `{"password":"` + strings.Repeat("x", 73) + `"}`, 400},
		{"GET", "/oose/users/nobody", "", 404},
		{"DELETE", "/oose/users/nobody", "", 404},
		{"DELETE", "/oose/users/declared", "", 409},
	} {
		t.Run(tt.method+tt.path, func(t *testing.T) {
			status, body, header := n.ask(tt.method, tt.path, tt.body)
			require.Equal(t, tt.status, status, body)
			var said struct{ Error string }
			require.NoError(t, json.Unmarshal([]byte(body), &said), body)
			require.NotEmpty(t, said.Error)
			require.Contains(t, header.Get("Content-Type"), "application/json")
			require.NotContains(t, body, someToken)
		})
	}
}

func TestLiveEvents(t *testing.T) {
	notedEvents.Clear()
	n := startLive(t)
	n.load(fmt.Sprintf(`{"stores":[{"name":"om103","root":%q,"mount":true}]}`, filepath.Join(n.dir, "om103")))
	require.Eventually(t, func() bool {
		_, told := notedEvents.Load("store_offline om103")
		return told
	}, 10*time.Second, 10*time.Millisecond)
	_, told := notedEvents.Load("store_online om101")
	require.False(t, told, "what is as it should be is no news")
}

func TestLiveFollowsReload(t *testing.T) {
	n := startLive(t)
	require.Equal(t, 2, n.put("a.txt", "one").Durability)
	n.load(`{"content":{"copies":1,"hash":"sha256"}}`)
	got := n.put("b.txt", "two")
	require.Equal(t, 1, got.Durability)
	require.Len(t, got.Hash, 64)
	require.Contains(t, n.must("status").out, "online")
	_, metrics, _ := n.ask(http.MethodGet, "/metrics", "")
	require.Contains(t, metrics, "caddy_oose_store_up")
}
