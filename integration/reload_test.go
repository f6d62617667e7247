package integration

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/require"
)

// pressure is load on a node that goes on until the test stops it. No failure is
// excused.
type pressure struct {
	stop   chan struct{}
	wg     sync.WaitGroup
	served atomic.Int64

	mu       sync.Mutex // guards failures
	failures []error
}

// work does something over and over, also after it has failed.
func (p *pressure) work(name string, do func() error) {
	p.wg.Go(func() {
		for {
			select {
			case <-p.stop:
				return
			default:
			}
			if err := do(); err != nil {
				p.mu.Lock()
				p.failures = append(p.failures, fmt.Errorf("%s: %w", name, err))
				p.mu.Unlock()
			}
			p.served.Add(1)
		}
	})
}

// goesOn waits until some more has been served.
func (p *pressure) goesOn(t *testing.T) {
	t.Helper()
	before := p.served.Load()
	eventually(t, func() bool { return p.served.Load() > before+50 }, "requests go on")
}

// end stops the load and wants that nothing was lost.
func (p *pressure) end(t *testing.T) {
	t.Helper()
	close(p.stop)
	p.wg.Wait()
	t.Logf("%d requests, %d lost", p.served.Load(), len(p.failures))
	require.NoError(t, errors.Join(p.failures...))
}

// press puts a node, which needs httpsSite, under load: downloads over
// connections that are kept, of every protocol; many more downloads and uploads
// that have a new connection each. Go's client tries again by itself what
// crosses with the end of an idle connection, where that can do no harm, as
// RFC 9110 has it (9.2.2); it does not where the connection is new.
func press(t *testing.T, n *Node) *pressure {
	t.Helper()
	a := n.Login()
	small := noise(t, 4096)
	path := "/" + a.Purchase(a.Upload("small.bin", "sha256", bytes.NewReader(small)), "bin", nil).Token + "/s.bin"
	p := &pressure{stop: make(chan struct{})}
	all := protocols(t, n)
	for _, proto := range all {
		p.work(proto.name, func() error {
			err := getExactly(proto.http, proto.base+path, small)
			// A client of HTTP/3 that is told to use another connection, and has no
			// request running, closes this one. quic-go's does so too where it has
			// just begun with one, and leaves it to its user to try again.
			var own *http3.Error
			if errors.As(err, &own) && !own.Remote && own.ErrorCode == http3.ErrCodeNoError {
				err = getExactly(proto.http, proto.base+path, small)
			}
			return err
		})
	}
	for _, proto := range all {
		client := fresh(proto.http)
		if client == nil {
			continue
		}
		for range 2 {
			p.work("new connections, "+proto.name, func() error { return getExactly(client, proto.base+path, small) })
		}
	}
	uploader := *a
	uploader.HTTP = fresh(a.HTTP)
	p.work("new connections, upload", func() error {
		data := noise(t, 10_000)
		hash, err := upload(&uploader, data)
		if err == nil && hash != sha256Of(data) {
			err = fmt.Errorf("answered %s", hash)
		}
		return err
	})
	return p
}

// fresh returns a client like another which has a new connection for each
// request; nil for HTTP/3, which knows no such thing.
func fresh(client *http.Client) *http.Client {
	transport, ok := client.Transport.(*http.Transport)
	if !ok {
		return nil
	}
	transport = transport.Clone()
	transport.DisableKeepAlives = true
	return &http.Client{Transport: transport}
}

// TestReloadUnderLoad reloads while requests come and streams run, changing
// settings back and forth: nothing is lost, nothing is cut.
func TestReloadUnderLoad(t *testing.T) {
	parallel(t)
	one := Config{Sites: httpsSite}
	two := Config{Sites: httpsSite, Purchase: "cors *", Oose: "purchase {\n life 5m\n }\n scan {\n workers 2\n }"}
	n := Start(t, one)
	a := n.Login()
	big := bytes.Repeat(noise(t, 1<<20), 32)
	bigHash := a.Upload("big.mp4", "sha256", bytes.NewReader(big))
	bigURL := "/" + a.Purchase(bigHash, "mp4", nil).Token + "/b.mp4"
	started := statusOf(t, n)["started"]
	require.NotEmpty(t, started)

	load := press(t, n)
	// One stream on each protocol begins before the first reload and ends after the last.
	all := protocols(t, n)
	streams := make([]*http.Response, len(all))
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
		_, err := body.Write(big[:4096])
		require.NoError(t, err)
		r := n.Reload([]Config{two, one}[i%2])
		require.Zero(t, r.Code, r.Err)
		load.goesOn(t)
	}
	require.NoError(t, body.Close())
	require.NoError(t, <-slow, "the upload that began before the reloads")
	for i, res := range streams {
		digest := sha256.New()
		_, err := io.Copy(digest, res.Body)
		require.NoError(t, err, "the stream over %s", all[i].name)
		require.Equal(t, bigHash, hex.EncodeToString(digest.Sum(nil)), "the stream over %s", all[i].name)
	}
	load.end(t)
	require.Equal(t, started, statusOf(t, n)["started"], "the node, and its database, is the one that was opened at the start")
	eventually(t, func() bool { return statusOf(t, n)["configurations"] == 1.0 }, "old configurations are let go")
}

// TestFailingReloadUnderLoad loads configurations that open the node's ports and
// fail then: one names a port that is taken, and as Caddy starts servers in any
// order, it fails before, between and after the others; one fails when all has
// started, as it says that it is to be replaced by another and not how to get that.
func TestFailingReloadUnderLoad(t *testing.T) {
	parallel(t)
	n := Start(t, Config{Sites: httpsSite})
	load := press(t, n)
	taken := httpsSite + "http://127.0.0.1:" + takenPort(t) + " {\n bind 127.0.0.1\n respond ok\n }\n"
	var late map[string]any
	require.NoError(t, json.Unmarshal([]byte(n.MustRun("adapt", "--config", n.Path("Caddyfile"), "--adapter", "caddyfile")), &late))
	late["admin"].(map[string]any)["config"] = map[string]any{"load": map[string]any{"module": "missing"}}
	text, err := json.Marshal(late)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(n.Path("late.json"), text, 0o600))
	for i := range 6 {
		if i == 3 { // the ports have been handed over
			r := n.Reload(Config{Sites: httpsSite, Purchase: "cors *"})
			require.Zero(t, r.Code, r.Err)
		}
		if i%2 == 0 {
			r := n.Reload(Config{Sites: taken})
			require.NotZero(t, r.Code)
			require.Contains(t, r.Err, "address already in use")
		} else {
			r := n.Run("reload", "--config", n.Path("late.json"), "--force")
			require.NotZero(t, r.Code)
			require.Contains(t, r.Err, "unknown module")
		}
		load.goesOn(t)
	}
	load.end(t)
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
	parallel(t)
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
	parallel(t)
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
	parallel(t)
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
