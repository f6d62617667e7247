package integration

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReloadUnderLoad reloads while requests come and streams run, changing
// settings back and forth: nothing is lost, nothing is cut.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	one := Config{Sites: httpsSite}
	two := Config{Sites: httpsSite, Purchase: "cors *", Oose: "purchase {\n life 5m\n }\n scan {\n workers 2\n }"}
	n := Start(t, one)
	a := n.Login()
	small := noise(t, 4096)
	smallHash := a.Upload("small.bin", "sha256", bytes.NewReader(small))
	big := bytes.Repeat(noise(t, 1<<20), 32)
	bigHash := a.Upload("big.mp4", "sha256", bytes.NewReader(big))
	smallURL, bigURL := "/"+a.Purchase(smallHash, "bin", nil).Token+"/s.bin", "/"+a.Purchase(bigHash, "mp4", nil).Token+"/b.mp4"
	started := statusOf(t, n)["started"]
	require.NotEmpty(t, started)

	stop := make(chan struct{})
	var wg sync.WaitGroup
	var served, uploads atomic.Int64
	var failures sync.Map
	load := func(name string, work func() error) {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := work(); err != nil {
					failures.Store(name, err)
					return
				}
			}
		})
	}
	all := protocols(t, n)
	var unread unread
	for _, proto := range all {
		load(proto.name, func() error {
			mark := fmt.Sprintf("mark=%d-", served.Add(1))
			return unread.note(mark, getExactly(proto.http, proto.base+smallURL+"?"+mark, small))
		})
	}
	load("upload", func() error {
		data := noise(t, 10_000)
		mark := fmt.Sprintf("mark=up%d-", uploads.Add(1))
		hash, err := upload(a, data, mark)
		if err == nil && hash != sha256Of(data) {
			err = fmt.Errorf("answered %s", hash)
		}
		return unread.note(mark, err)
	})

	// One stream on each protocol begins before the first reload and ends after the last.
	streams := make([]*http.Response, len(all))
	digests := make([]string, len(all))
	for i, proto := range all {
		res, err := proto.http.Get(proto.base + bigURL)
		require.NoError(t, err)
		defer res.Body.Close()
		streams[i] = res
	}
	feed, body := io.Pipe()
	slow := make(chan error, 1)
	go func() {
		res, text, err := a.SendUpload(Part{Field: "file", Name: "slow.bin", HashType: "sha256", Body: feed})
		if err == nil && res.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", res.Status, text)
		}
		slow <- err
	}()
	for i := range 6 {
		_, err := body.Write(small)
		require.NoError(t, err)
		before := served.Load()
		r := n.Reload([]Config{two, one}[i%2])
		require.Zero(t, r.Code, r.Err)
		eventually(t, func() bool { return served.Load() > before+8 }, "requests go on after the reload")
	}
	require.NoError(t, body.Close())
	require.NoError(t, <-slow, "the upload that began before the reloads")
	for i, res := range streams {
		digest := sha256.New()
		_, err := io.Copy(digest, res.Body)
		require.NoError(t, err, "the stream over %s", all[i].name)
		digests[i] = hex.EncodeToString(digest.Sum(nil))
		require.Equal(t, bigHash, digests[i], "the stream over %s", all[i].name)
	}
	close(stop)
	wg.Wait()
	failures.Range(func(name, err any) bool {
		t.Errorf("%s: %v", name, err)
		return true
	})
	log := n.Log()
	for _, mark := range unread.marks {
		require.NotContains(t, log, mark, "the node had read this request and did not answer it")
	}
	t.Logf("%d requests and %d uploads during 6 reloads, %d ended unread: %v", served.Load(), uploads.Load(), len(unread.marks), errors.Join(unread.errs...))
	require.Equal(t, started, statusOf(t, n)["started"], "the node, and its database, is the one that was opened at the start")
	eventually(t, func() bool { return statusOf(t, n)["configurations"] == 1.0 }, "old configurations are let go")
}

// unread notes the requests whose connection ended before the node read them.
// A reload has Caddy open its ports anew beside the old ones: what the kernel had
// queued there, and no server has seen, it resets; and a connection that is kept
// alive is closed while idle, which may cross with the next request on it. Clients
// try such requests again. The node must not have read them.
type unread struct {
	mu    sync.Mutex
	marks []string
	errs  []error
}

func (u *unread) note(mark string, err error) error {
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, io.EOF) {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.marks = append(u.marks, mark)
	u.errs = append(u.errs, err)
	return nil
}

// getExactly fetches a URL and compares its body.
func getExactly(client *http.Client, url string, want []byte) error {
	res, err := client.Get(url)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK || !bytes.Equal(got, want) {
		return fmt.Errorf("%s, %d bytes: %.200s", res.Status, len(got), got)
	}
	return nil
}

func TestFailingReloadKeepsServing(t *testing.T) {
	t.Parallel()
	n := Start(t, Config{})
	a := n.Login()
	hash := a.Upload("f.txt", "", strings.NewReader("still here"))
	url := n.URL("/" + a.Purchase(hash, "txt", nil).Token + "/f.txt")
	for _, c := range []struct {
		name, says string
		config     Config
	}{
		{"an unknown setting", "colour", Config{Oose: "colour blue"}},
		{"a bad value", "Caddyfile:", Config{Oose: "purchase {\n life soon\n }"}},
		{"the same store with another root", "disk1", Config{Sites: "http://127.0.0.1:$TLS {\n oose_store disk1 $DIR/elsewhere\n }"}},
		{"another data folder", "restart", Config{Text: strings.Replace(Config{}.String(), "data $DIR/data", "data $DIR/other", 1)}},
		{"another domain", "restart", Config{Text: strings.Replace(Config{}.String(), "domain oose.test", "domain other.test", 1)}},
		{"a port that is taken", "address already in use", Config{Sites: "http://127.0.0.1:" + takenPort(t) + " {\n bind 127.0.0.1\n respond ok\n }"}},
	} {
		r := n.Reload(c.config)
		require.NotZero(t, r.Code, c.name)
		require.Contains(t, r.Err+r.Out, c.says, c.name)
		require.NoError(t, getExactly(a.HTTP, url, []byte("still here")), c.name)
		require.Equal(t, hash, a.Upload("f.txt", "", strings.NewReader("still here")), "%s: uploads go on", c.name)
	}
	require.NoDirExists(t, n.Path("other"))
	r := n.Reload(Config{})
	require.Zero(t, r.Code, r.Err)
}

// takenPort listens on a port until the test ends.
func takenPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
}

func TestConfigCommandsBesideARunningNode(t *testing.T) {
	t.Parallel()
	n := Start(t, Config{})
	file := n.Path("Caddyfile")
	for range 2 {
		n.MustRun("validate", "--config", file, "--adapter", "caddyfile")
		require.Contains(t, n.MustRun("adapt", "--config", file, "--adapter", "caddyfile"), `"oose_purchase"`)
		n.MustRun("fmt", "--overwrite", file)
	}
	r := n.Run("run", "--config", file, "--adapter", "caddyfile")
	require.NotZero(t, r.Code, "a second node on the same data folder")
	require.NoError(t, os.WriteFile(n.Path("bad.Caddyfile"), []byte("{\n\toose {\n\t\tstore\n\t}\n}\n"), 0o600))
	r = n.Run("validate", "--config", n.Path("bad.Caddyfile"), "--adapter", "caddyfile")
	require.NotZero(t, r.Code)
	require.Contains(t, r.Err+r.Out, "bad.Caddyfile:3", "the line of the mistake")
	a := n.Login()
	require.NotEmpty(t, a.Upload("f.txt", "", strings.NewReader("x")))
}

// TestLastGoodConfigurationIsKept starts a node again from what Caddy saved.
func TestLastGoodConfigurationIsKept(t *testing.T) {
	t.Parallel()
	n := Start(t, Config{})
	hash := n.Login().Upload("f.txt", "", strings.NewReader("x"))
	n.Stop()
	saved := filesIn(t, n.Path("xdg", "caddy"))
	require.Contains(t, strings.Join(saved, " "), "autosave.json")
	n.resume = true
	n.Restart()
	require.NotEmpty(t, n.Login().Purchase(hash, "txt", nil).Token)
}

// statusOf is what /oose/status tells.
func statusOf(t testing.TB, n *Node) map[string]any {
	t.Helper()
	return getJSON(t, n.AdminURL("/oose/status"))
}
