package node

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ooseio/oose/account"
	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/upload"
	"github.com/ooseio/oose/journal"
	"github.com/ooseio/oose/purchase"
)

// The Redis client that tries to reach a server that is away notices up to a
// second later that it was closed.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// testConfig is a node in a folder, with stores under it.
func testConfig(dir string, stores ...string) Config {
	c := Config{Data: filepath.Join(dir, "data"), Name: "edge1", Domain: "oose.example"}
	for _, name := range stores {
		c.Stores = append(c.Stores, Store{Name: name, Root: filepath.Join(dir, name), Reserve: 1e6})
	}
	c.SetDefaults()
	return c
}

func openNode(t *testing.T, c Config) *Node {
	t.Helper()
	n, err := Open(t.Context(), c, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	return n
}

// attach attaches a configuration, and detaches it when the test ends.
func attach(t *testing.T, n *Node, s Spec) (a *Attachment, detach func()) {
	t.Helper()
	a, err := n.Attach(s)
	require.NoError(t, err)
	detached := false
	detach = func() {
		if !detached {
			detached = true
			a.Detach(func() {})
		}
	}
	t.Cleanup(detach)
	return a, detach
}

func soon(t *testing.T, cond func() bool) {
	t.Helper()
	require.Eventually(t, cond, 20*time.Second, 5*time.Millisecond)
}

func put(t *testing.T, n *Node, text string) content.Hash {
	t.Helper()
	for _, v := range n.Volumes() {
		soon(t, v.Writable)
	}
	done, err := n.Uploader().Upload(t.Context(), upload.Request{Body: strings.NewReader(text), Size: int64(len(text)), Type: content.SHA1, Ext: "txt", Copies: 2})
	require.NoError(t, err)
	return done.Hash
}

func TestNodeRemembers(t *testing.T) {
	dir := t.TempDir()
	n, err := Open(t.Context(), testConfig(dir, "disk1", "disk2"), zap.NewNop())
	require.NoError(t, err)
	a, err := n.Attach(Spec{Config: testConfig(dir, "disk1", "disk2"), Prisms: []PrismSpec{{}}})
	require.NoError(t, err)
	h := put(t, n, "hello")
	p, _, err := n.Book.Make(t.Context(), purchase.Spec{Hash: h, Ext: "txt", Life: time.Hour})
	require.NoError(t, err)
	soon(t, func() bool { return len(n.Registry.Peers()) == 3 })
	require.True(t, n.Registry.Known("disk1.oose.example", "oose.example"))
	peers := n.Registry.Peers()
	a.Detach(func() {})
	require.Empty(t, n.Volumes(), "nobody holds the stores")
	require.NoError(t, n.Close())

	c := testConfig(dir, "disk1", "disk2")
	c.Name = "" // the data folder knows it
	n = openNode(t, c)
	require.Equal(t, "edge1", n.Name())
	attach(t, n, Spec{Config: c})
	found, err := n.Book.Find(t.Context(), p.Token)
	require.NoError(t, err)
	require.Equal(t, h, found.Hash)
	placement, err := n.Index.Find(t.Context(), h)
	require.NoError(t, err)
	require.Len(t, placement.Clones, 2)
	for _, v := range n.Volumes() {
		soon(t, v.Readable)
		require.Contains(t, []string{peers[1].ID, peers[2].ID}, v.ID(), "a store keeps its identity")
	}
	require.Equal(t, 1, n.Status().Configurations)
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	openNode(t, testConfig(dir))
	_, err := Open(t.Context(), testConfig(dir), zap.NewNop())
	require.ErrorIs(t, err, journal.ErrLocked)
	require.ErrorContains(t, err, "another process")
}

func TestNewestConfigurationRules(t *testing.T) {
	dir := t.TempDir()
	n := openNode(t, testConfig(dir, "disk1"))
	oldLogs, oldSeen := observer.New(zapcore.InfoLevel)
	newLogs, newSeen := observer.New(zapcore.InfoLevel)

	first := testConfig(dir, "disk1")
	first.Users = map[string]string{"alice": someHash}
	first.Session.Keys = map[string]string{"alice": "0123456789abcdef"}
	_, detachFirst := attach(t, n, Spec{Config: first, Core: oldLogs, Prisms: []PrismSpec{{Name: "prism1"}}})
	n.log.Info("to the old")
	_, err := n.Sessions.Validate(t.Context(), "0123456789abcdef")
	require.NoError(t, err)
	soon(t, func() bool { return n.Registry.Known("prism1.oose.example", "oose.example") })

	second := testConfig(dir, "disk1", "disk2")
	second.Session.Life = Duration(time.Minute)
	second.Stores[0].Reserve = 2e6
	_, detachSecond := attach(t, n, Spec{Config: second, Core: newLogs, Prisms: []PrismSpec{{Name: "prism2"}}})
	n.log.Info("to the new")
	require.Equal(t, time.Minute, n.sessionLife())
	require.Len(t, n.Volumes(), 2)
	_, err = n.Sessions.Validate(t.Context(), "0123456789abcdef")
	require.ErrorIs(t, err, account.ErrNoSession)
	soon(t, func() bool {
		return n.Registry.Known("prism2.oose.example", "oose.example") && !n.Registry.Known("prism1.oose.example", "oose.example")
	})

	detachSecond() // it failed to start: what is below rules again
	n.log.Info("to the old again")
	require.Equal(t, 24*time.Hour, n.sessionLife())
	soon(t, func() bool { return len(n.Volumes()) == 1 })
	_, err = n.Sessions.Validate(t.Context(), "0123456789abcdef")
	require.NoError(t, err)
	require.Equal(t, 2, oldSeen.FilterMessageSnippet("to the old").Len())
	require.Equal(t, 1, newSeen.FilterMessageSnippet("to the new").Len())
	require.Zero(t, newSeen.FilterMessageSnippet("to the old").Len())

	detachFirst()
	require.Zero(t, n.Status().Configurations)
}

func TestRequestsHoldStores(t *testing.T) {
	dir := t.TempDir()
	n := openNode(t, testConfig(dir, "disk1"))
	a, err := n.Attach(Spec{Config: testConfig(dir, "disk1")})
	require.NoError(t, err)
	require.True(t, a.Acquire())
	require.Equal(t, int64(1), n.Status().Requests)
	freed := false
	a.Detach(func() { freed = true })
	require.Len(t, n.Volumes(), 1)
	require.True(t, a.Acquire(), "while one request runs another may begin")
	a.Release()
	require.False(t, freed)
	a.Release()
	require.True(t, freed)
	require.Empty(t, n.Volumes())
	require.False(t, a.Acquire())
}

func TestAttachRefusesOneRootTwice(t *testing.T) {
	dir := t.TempDir()
	n := openNode(t, testConfig(dir))
	c := testConfig(dir, "disk1")
	_, err := n.Attach(Spec{Config: c, Stores: []StoreSpec{{Store: Store{Name: "disk2", Root: c.Stores[0].Root}}}})
	require.ErrorContains(t, err, "root of store disk1")
	require.Empty(t, n.Volumes())
}

func TestCopyOfARootIsRefused(t *testing.T) {
	dir := t.TempDir()
	n := openNode(t, testConfig(dir, "disk1", "disk2"))
	attach(t, n, Spec{Config: testConfig(dir, "disk1", "disk2")})
	for _, v := range n.Volumes() {
		soon(t, v.Readable)
		err := n.volumes.claim(Store{Name: "disk3", Root: filepath.Join(dir, "disk3")}, v.ID())
		require.ErrorContains(t, err, "same identity")
		require.NoError(t, n.volumes.claim(Store{Name: v.Name(), Root: v.Root()}, v.ID()))
	}
}

func TestCheckReload(t *testing.T) {
	dir := t.TempDir()
	c := testConfig(dir)
	n := openNode(t, c)
	require.NoError(t, n.CheckReload(&c))
	unnamed := c
	unnamed.Name = ""
	require.NoError(t, n.CheckReload(&unnamed))
	for name, change := range map[string]func(*Config){
		"data":           func(c *Config) { c.Data = "/elsewhere" },
		"engine":         func(c *Config) { c.Engine.Folder = "/elsewhere" },
		"name":           func(c *Config) { c.Name = "edge2" },
		"domain":         func(c *Config) { c.Domain = "other.example" },
		"cluster secret": func(c *Config) { c.Cluster.Secret = []string{"0123456789abcdef"} },
		"purchase zone":  func(c *Config) { c.Purchase.Zone = "z" },
	} {
		other := c
		change(&other)
		err := n.CheckReload(&other)
		require.ErrorIs(t, err, ErrRestart)
		require.ErrorContains(t, err, name)
		require.ErrorContains(t, err, "needs a restart")
	}
}

func TestStoreByHost(t *testing.T) {
	dir := t.TempDir()
	n := openNode(t, testConfig(dir, "disk1", "disk2"))
	a, _ := attach(t, n, Spec{Config: testConfig(dir, "disk1", "disk2")})
	s, err := a.Store(StoreSpec{})
	require.NoError(t, err)
	for host, mine := range map[string]bool{
		"disk1.oose.example": true, "DISK2.oose.example:8443": true, "disk2.oose.example.": true,
		"disk3.oose.example": false, "disk1.other.example": false, "disk1": false, "": false, "[::1]:80": false,
	} {
		r := httptest.NewRequest(http.MethodGet, "/ping", nil)
		r.Host = host
		w := httptest.NewRecorder()
		err := s.Serve(w, r)
		if mine {
			require.NoError(t, err, host)
			require.Equal(t, http.StatusOK, w.Code)
		} else {
			require.ErrorIs(t, err, handlers.ErrNotMine, host)
		}
	}
	_, err = a.Store(StoreSpec{Store: Store{Name: "disk9"}})
	require.ErrorContains(t, err, "not declared")
}

func TestRolesRefuseBadCredentials(t *testing.T) {
	dir := t.TempDir()
	n := openNode(t, testConfig(dir, "disk1"))
	a, _ := attach(t, n, Spec{Config: testConfig(dir, "disk1")})
	_, err := a.Prism(PrismSpec{Basic: &Basic{User: "oose", Hash: "x"}})
	require.Error(t, err)
	_, err = a.Store(StoreSpec{Basic: &Basic{User: "oose", Hash: "x"}})
	require.Error(t, err)
}

func TestPartThatEndsIsTold(t *testing.T) {
	n := openNode(t, testConfig(t.TempDir()))
	stop := n.spawn("test", func(context.Context) error { return nil })
	soon(t, func() bool { return len(n.Status().Failed) == 1 })
	require.Equal(t, []string{"test: it ended without being told to"}, n.Status().Failed)
	stop()
	n.spawn("quiet", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })()
	require.Len(t, n.Status().Failed, 1)
}

func TestRemovalReachesStores(t *testing.T) {
	dir := t.TempDir()
	c := testConfig(dir, "disk1", "disk2")
	n := openNode(t, c)
	only := testConfig(dir, "disk1")
	_, detachBoth := attach(t, n, Spec{Config: c})
	h := put(t, n, "to be removed")
	attach(t, n, Spec{Config: only})
	detachBoth() // disk2 is away now
	soon(t, func() bool { return len(n.Volumes()) == 1 })
	_, err := n.Index.Remove(t.Context(), h)
	require.NoError(t, err)
	gone := func(name string) func() bool {
		return func() bool {
			v, ok := n.Volume(name)
			if !ok || !v.Readable() {
				return false
			}
			files, err := filepath.Glob(filepath.Join(v.Root(), "content", "*", "*", "*"))
			return err == nil && len(files) == 0
		}
	}
	soon(t, gone("disk1"))
	files, err := filepath.Glob(filepath.Join(dir, "disk2", "content", "*", "*", "*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	attach(t, n, Spec{Config: c})
	soon(t, gone("disk2"))
}
