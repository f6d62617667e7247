package caddymodule

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers/upload"
	"github.com/ooseio/oose/integration/freeport"
	"github.com/ooseio/oose/journal"
	"github.com/ooseio/oose/purchase"
)

// world is one Caddy in this process, with a folder and a port of its own.
type world struct {
	t    *testing.T
	dir  string
	port int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), port: freeport.Get(t)}
	t.Setenv("XDG_DATA_HOME", filepath.Join(w.dir, "share"))
	t.Cleanup(func() {
		require.NoError(t, caddy.Stop())
		require.Eventually(t, func() bool { return running() == nil }, 10*time.Second, 10*time.Millisecond, "the node stays open")
	})
	return w
}

// caddyfile completes a Caddyfile: %s stands for the folder, ADDR for the
// address of the site.
func (w *world) caddyfile(text string) []byte {
	w.t.Helper()
	text = "{\n\tadmin off\n\tpersist_config off\n" + text
	text = string(bytes.ReplaceAll([]byte(text), []byte("DIR"), []byte(w.dir)))
	text = string(bytes.ReplaceAll([]byte(text), []byte("ADDR"), fmt.Appendf(nil, "http://127.0.0.1:%d", w.port)))
	b, err := adapt(w.t, text)
	require.NoError(w.t, err)
	return b
}

// load has Caddy run a Caddyfile.
func (w *world) load(text string) error {
	w.t.Helper()
	return caddy.Load(w.caddyfile(text), true)
}

// oneStore is a node with one store, and more settings for it.
func oneStore(more string) string {
	return "\toose {\n\t\tdata DIR/data\n\t\tstore disk1 DIR/disk1 {\n\t\t\treserve 1MB\n\t\t}\n" + more + "\t}\n}\nADDR {\n\toose_purchase\n\toose_prism\n}\n"
}

func (w *world) url(path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", w.port, path) }

// get answers the status and body of a path.
func (w *world) get(path string) (int, string) {
	w.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	resp, err := client.Get(w.url(path))
	require.NoError(w.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(w.t, err)
	return resp.StatusCode, string(b)
}

// buy puts a content into the running node and returns the path of a purchase
// of it.
func (w *world) buy(body []byte) string {
	w.t.Helper()
	n := running()
	require.NotNil(w.t, n)
	for _, v := range n.Volumes() {
		require.Eventually(w.t, v.Writable, 20*time.Second, 10*time.Millisecond, "%+v", v.Status())
	}
	done, err := n.Uploader().Upload(w.t.Context(), upload.Request{
		Body: bytes.NewReader(body), Size: int64(len(body)), Type: content.SHA1, Ext: "mp4", Copies: 1,
	})
	require.NoError(w.t, err)
	p, _, err := n.Book.Make(w.t.Context(), purchase.Spec{Hash: done.Hash, Ext: "mp4", Life: time.Hour})
	require.NoError(w.t, err)
	return "/" + string(p.Token) + "/video.mp4"
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func references() int {
	n, _ := nodes.References(poolKey{})
	return n
}

// requireOneReference waits until requests that have been answered have let go.
func requireOneReference(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return references() == 1 }, 10*time.Second, time.Millisecond)
}

func TestReloadKeepsNodeOpen(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.load(oneStore("")))
	first := running()
	body := randomBytes(100_000)
	path := w.buy(body)
	code, got := w.get(path)
	require.Equal(t, 200, code, got)
	require.Equal(t, string(body), got)

	for i := range 5 {
		require.NoError(t, w.load(oneStore(fmt.Sprintf("\t\texit_after %ds\n\t\tpurchase {\n\t\t\tlife %dh\n\t\t}\n", i+1, i+1))))
		require.Same(t, first, running(), "the node was opened again")
		requireOneReference(t)
		require.Equal(t, time.Duration(i+1)*time.Hour, first.Config().Purchase.Life.Std(), "the newest configuration rules")
		code, got = w.get(path)
		require.Equal(t, 200, code)
		require.Equal(t, string(body), got)
	}
	require.Equal(t, 1, first.Status().Configurations)
}

func TestFailingReloadLeavesTheOldServing(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.load(oneStore("")))
	first := running()
	path := w.buy([]byte("hello"))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()

	for name, text := range map[string]struct{ text, want string }{
		"port taken":    {oneStore("\t\tpurchase {\n\t\t\tlife 9h\n\t\t}\n") + fmt.Sprintf("http://%s {\n\toose_prism other\n}\n", taken.Addr()), "address already in use"},
		"data":          {"\toose {\n\t\tdata DIR/other\n\t}\n}\nADDR {\n\toose_prism\n}\n", "needs a restart"},
		"name":          {oneStore("\t\tname other\n"), "needs a restart"},
		"domain":        {oneStore("\t\tdomain other.example\n"), "needs a restart"},
		"engine":        {oneStore("\t\tengine badger DIR/meta2\n"), "needs a restart"},
		"zone":          {oneStore("\t\tpurchase {\n\t\t\tzone z\n\t\t}\n"), "needs a restart"},
		"redis":         {oneStore("\t\tengine redis redis://127.0.0.1\n"), "needs a restart"},
		"placeholder":   {oneStore("\t\tsite {env.OOSE_TEST_NOT_SET}\n"), "site"},
		"store differs": {oneStore("") + "http://127.0.0.1:1 {\n\toose_store disk1 DIR/disk2\n}\n", "declared twice"},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, w.load(text.text), text.want)
			require.Same(t, first, running())
			requireOneReference(t)
			require.Equal(t, 1, first.Status().Configurations)
			require.Equal(t, 2*time.Hour, first.Config().Purchase.Life.Std(), "the old rules are in force again")
			code, got := w.get(path)
			require.Equal(t, 200, code)
			require.Equal(t, "hello", got)
		})
	}
}

func TestStreamOutlivesReload(t *testing.T) {
	for name, next := range map[string]string{
		"same store":    oneStore(""),
		"another store": "\toose {\n\t\tdata DIR/data\n\t\tstore disk2 DIR/disk2 {\n\t\t\treserve 1MB\n\t\t}\n\t}\n}\nADDR {\n\toose_purchase\n}\n",
		"no node":       "}\nADDR {\n\trespond gone\n}\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			require.NoError(t, w.load(oneStore("")))
			first := running()
			body := randomBytes(24 << 20)
			path := w.buy(body)

			conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", w.port))
			require.NoError(t, err)
			defer conn.Close()
			require.NoError(t, conn.(*net.TCPConn).SetReadBuffer(64<<10))
			_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n", path, w.port)
			require.NoError(t, err)
			begin := make([]byte, 100_000)
			_, err = io.ReadFull(conn, begin)
			require.NoError(t, err)

			require.NoError(t, w.load(next))
			require.Same(t, first, running(), "a request holds it")
			rest, err := io.ReadAll(conn)
			require.NoError(t, err)
			all := append(begin, rest...)
			require.True(t, bytes.HasSuffix(all, body), "the stream was cut")

			if name == "no node" {
				require.Eventually(t, func() bool { return running() == nil }, 10*time.Second, 10*time.Millisecond)
				return
			}
			require.Eventually(t, func() bool { return len(first.Volumes()) == 1 && references() == 1 }, 10*time.Second, 10*time.Millisecond)
			if name == "another store" {
				require.Equal(t, "disk2", first.Volumes()[0].Name())
			}
		})
	}
}

func TestValidateOpensNothing(t *testing.T) {
	w := newWorld(t)
	validate := func(text string) error {
		var cfg caddy.Config
		require.NoError(t, json.Unmarshal(w.caddyfile(text), &cfg))
		return caddy.Validate(&cfg)
	}
	require.NoError(t, validate(oneStore("")))
	entries, err := os.ReadDir(w.dir)
	require.NoError(t, err)
	require.Empty(t, entries, "validate wrote to the disk")
	require.NoError(t, validate(oneStore("\t\tengine redis redis://127.0.0.1:1\n")), "validate asks no Redis")

	// Beside another process that runs the node.
	other, err := journal.Open(journal.Options{Dir: filepath.Join(w.dir, "data", "meta")})
	require.NoError(t, err)
	require.NoError(t, validate(oneStore("")))
	require.ErrorContains(t, w.load(oneStore("")), "another process")
	require.Nil(t, running())
	require.NoError(t, other.Close())

	// In the process that runs it.
	require.NoError(t, w.load(oneStore("")))
	path := w.buy([]byte("hello"))
	require.NoError(t, validate(oneStore("")))
	requireOneReference(t)
	code, _ := w.get(path)
	require.Equal(t, 200, code)
}

func TestWithoutGlobalBlock(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.load("}\nADDR {\n\toose_purchase\n\toose_prism\n\toose_store disk1 DIR/disk1 {\n\t\treserve 1MB\n\t}\n}\n"))
	code, got := w.get(w.buy([]byte("hello")))
	require.Equal(t, 200, code)
	require.Equal(t, "hello", got)
	require.Contains(t, running().Config().Data, w.dir)
	require.Equal(t, w.url(""), running().URL())
}

func TestSameStoreInSeveralSites(t *testing.T) {
	w := newWorld(t)
	second := fmt.Sprintf("http://127.0.0.1:%d", freeport.Get(t))
	require.NoError(t, w.load(oneStore("")+second+" {\n\toose_store disk1 DIR/disk1\n}\n"))
	require.Len(t, running().Volumes(), 1)
	err := w.load(oneStore("") + second + " {\n\toose_store disk1 DIR/disk1 {\n\t\treserve 2MB\n\t}\n}\n")
	require.ErrorContains(t, err, "reserve")
	require.ErrorContains(t, err, "declared twice")
	err = w.load(oneStore("") + second + " {\n\toose_store disk9 DIR/disk1\n}\n")
	require.ErrorContains(t, err, "root of store disk1")
}

func TestUnknownPaths(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.load("}\nADDR {\n\toose_purchase\n\toose_prism\n\thandle /other* {\n\t\trespond other\n\t}\n}\n"))
	code, got := w.get("/no/such/path")
	require.Equal(t, 404, code)
	require.JSONEq(t, `{"error":"There is nothing at this path"}`, got)
	code, got = w.get("/other")
	require.Equal(t, 200, code)
	require.Equal(t, "other", got)

	require.NoError(t, w.load("}\nADDR {\n\toose_purchase {\n\t\tpass_errors\n\t}\n\thandle_errors {\n\t\trespond \"own page {err.status_code}\"\n\t}\n}\n"))
	code, got = w.get("/no/such/path")
	require.Equal(t, "own page 404", got)
	require.Equal(t, 404, code)
	code, got = w.get("/a20261120a7ch2nx9djn/movie.mp4")
	require.Equal(t, "own page 404", got)
	require.Equal(t, 404, code)
}

func TestLateRequest(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.load(oneStore("")))
	app, err := activeApp()
	require.NoError(t, err)
	first := running()

	require.NoError(t, w.load(oneStore("\t\tpurchase {\n\t\t\tlife 9h\n\t\t}\n")))
	held, err := app.acquire()
	require.NoError(t, err, "a request that outlived its configuration is served")
	require.Same(t, first, held.pool)
	require.Equal(t, 9*time.Hour, first.Config().Purchase.Life.Std(), "it does not rule")
	held.Release()
	requireOneReference(t)

	require.NoError(t, app.Cleanup(), "a second time does nothing")
	require.Equal(t, 1, references())
}

func TestCleanupOfTheHalfProvisioned(t *testing.T) {
	require.NoError(t, new(App).Cleanup())
	app := new(App)
	app.Name = "{env.OOSE_TEST_NOT_SET}"
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	require.Error(t, app.Provision(ctx))
	require.NoError(t, app.Cleanup())
	require.Nil(t, running())
}

func TestPlaceholders(t *testing.T) {
	w := newWorld(t)
	t.Setenv("OOSE_TEST_NAME", "edge7")
	t.Setenv("OOSE_TEST_ROOT", filepath.Join(w.dir, "disk7"))
	t.Setenv("OOSE_TEST_HASH", "$2a$04$8yhB5ObHGIKYBmxWGsSX0OfkaXYdB6TEcR8SLhMtGQYTHHeAyyTgC")
	require.NoError(t, w.load("\toose {\n\t\tdata DIR/data\n\t\tname {env.OOSE_TEST_NAME}\n\t\tuser alice {env.OOSE_TEST_HASH}\n\t}\n}\nADDR {\n\toose_store disk7 {env.OOSE_TEST_ROOT}\n\toose_prism {env.OOSE_TEST_NAME} {\n\t\tbasic_auth oose {env.OOSE_TEST_HASH}\n\t}\n}\n"))
	n := running()
	require.Equal(t, "edge7", n.Name())
	require.Equal(t, filepath.Join(w.dir, "disk7"), n.Volumes()[0].Root())
	require.Equal(t, []string{"edge7"}, n.Status().Prisms)
}
