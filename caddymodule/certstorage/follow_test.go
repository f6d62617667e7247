package certstorage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

func TestMain(m *testing.M) {
	// certmagic's own storage, which is held against the suite, lets what keeps
	// its locks sleep on for 5 s.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"))
}

func load(t *testing.T, k *Keeper, key string) string {
	t.Helper()
	b, err := k.Load(t.Context(), key)
	if errors.Is(err, fs.ErrNotExist) {
		return "-"
	}
	require.NoError(t, err)
	return string(b)
}

func store(t *testing.T, k *Keeper, key, value string) {
	t.Helper()
	require.NoError(t, k.Store(t.Context(), key, []byte(value)))
}

func keeperIn(dir string) *Keeper { return NewKeeper(dir, zap.NewNop()) }

// TestBeforeTheEngine: a configuration that is only looked at writes nothing,
// and one that starts gives the engine what it made.
func TestBeforeTheEngine(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "certificates")
	k := keeperIn(dir)
	require.Equal(t, "-", load(t, k, "pki/root.crt"))
	store(t, k, "pki/root.crt", "root")
	store(t, k, "pki/gone", "x")
	require.NoError(t, k.Delete(t.Context(), "pki/gone"))
	require.Equal(t, "root", load(t, k, "pki/root.crt"))
	list, err := k.List(t.Context(), "", true)
	require.NoError(t, err)
	require.Equal(t, []string{"pki", "pki/root.crt"}, list)
	require.NoDirExists(t, filepath.Dir(dir))

	m := recordtest.NewMemory(nil)
	detach := k.Attach(m, always)
	synced(t, k)
	versions, err := m.Get(t.Context(), record.Certificate, "pki/root.crt")
	require.NoError(t, err)
	require.Len(t, versions, 1)
	versions, err = m.Get(t.Context(), record.Certificate, "pki/gone")
	require.NoError(t, err)
	require.Empty(t, versions, "what never was there leaves no tombstone")
	detach()
	detach()
	require.Equal(t, "root", load(t, k, "pki/root.crt"), "the copy answers when the node has closed")

	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 1)
	info, err = files[0].Info()
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	require.Equal(t, "root", load(t, keeperIn(dir), "pki/root.crt"), "at the next start")
}

// TestEngineAway: what was known is served, what is stored is told later, and
// deletions as well.
func TestEngineAway(t *testing.T) {
	m, dir := recordtest.NewMemory(nil), t.TempDir()
	k := keeperIn(dir)
	detach := k.Attach(m, always)
	synced(t, k)
	store(t, k, "a", "1")
	store(t, k, "b", "1")
	store(t, k, "dir/c", "1")
	detach()

	m.Fail(record.ErrUnavailable)
	k = keeperIn(dir)
	detach = k.Attach(m, always) // starts while it is away
	require.Equal(t, "1", load(t, k, "a"))
	list, err := k.List(t.Context(), "", false)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b", "dir"}, list)
	store(t, k, "a", "2")
	store(t, k, "new", "1")
	require.NoError(t, k.Delete(t.Context(), "dir"))
	require.NoError(t, k.Delete(t.Context(), "elsewhere"), "somebody may have it")
	require.Equal(t, "2", load(t, k, "a"))
	require.Equal(t, "-", load(t, k, "dir/c"))
	require.False(t, k.Exists(t.Context(), "dir"))
	require.True(t, k.Exists(t.Context(), "new"))
	detach() // ... and is restarted
	k = keeperIn(dir)
	require.Equal(t, "2", load(t, k, "a"))
	require.Equal(t, "-", load(t, k, "dir/c"))

	m.Fail(nil)
	t.Cleanup(k.Attach(m, always))
	synced(t, k)
	other := opened(t, m)
	for key, want := range map[string]string{"a": "2", "b": "1", "new": "1", "dir/c": "-"} {
		require.Equal(t, want, load(t, k, key), key)
		require.Equal(t, want, load(t, other, key), key)
	}
}

// TestAwayWhileOpen is the same for an engine that goes and comes back.
func TestAwayWhileOpen(t *testing.T) {
	m := recordtest.NewMemory(nil)
	k := opened(t, m)
	store(t, k, "a", "1")
	m.Fail(fmt.Errorf("gone: %w", record.ErrUnavailable))
	store(t, k, "a", "2")
	store(t, k, "c", "2")
	require.Equal(t, "2", load(t, k, "a"))
	require.Equal(t, "-", load(t, k, "unknown"))
	m.Fail(nil)
	synced(t, k)
	require.Equal(t, "2", load(t, opened(t, m), "c"))
	require.Equal(t, "2", load(t, opened(t, m), "a"))
}

// TestNewerWins: what others stored meanwhile is not overwritten by what is older.
func TestNewerWins(t *testing.T) {
	dir, m := t.TempDir(), recordtest.NewMemory(nil)
	k := keeperIn(dir)
	detach := k.Attach(m, always)
	synced(t, k)
	for _, key := range []string{"mine", "theirs", "their deletion", "my deletion", "deleted, then theirs"} {
		store(t, k, key, "0")
	}
	m.Fail(record.ErrUnavailable)
	for _, key := range []string{"theirs", "their deletion"} {
		store(t, k, key, "mine")
	}
	require.NoError(t, k.Delete(t.Context(), "deleted, then theirs"))
	detach()

	m.Fail(nil)
	require.Eventually(t, func() bool { // their clock has gone on
		e, ok := k.local.get("deleted, then theirs")
		return ok && record.TimeOf(time.Now()) > e.Time
	}, 10*time.Second, time.Millisecond)
	other := opened(t, m)
	store(t, other, "theirs", "theirs")
	store(t, other, "deleted, then theirs", "theirs")
	require.NoError(t, other.Delete(t.Context(), "their deletion"))
	store(t, other, "mine", "theirs")
	store(t, other, "my deletion", "theirs")

	m.Fail(record.ErrUnavailable)
	k = keeperIn(dir)
	detach = k.Attach(m, always)
	store(t, k, "mine", "mine")
	require.NoError(t, k.Delete(t.Context(), "my deletion"))
	detach()
	m.Fail(nil)
	k = keeperIn(dir)
	t.Cleanup(k.Attach(m, always))
	synced(t, k)
	for key, want := range map[string]string{"theirs": "theirs", "their deletion": "-", "mine": "mine", "my deletion": "-", "deleted, then theirs": "theirs"} {
		require.Equal(t, want, load(t, k, key), key)
		require.Equal(t, want, load(t, keeperIn(dir), key), "%s in the copy", key)
		require.Eventually(t, func() bool { return load(t, other, key) == want }, 10*time.Second, time.Millisecond, key)
	}
}

// TestMadeBlindly: a new node makes its own authority before it knows that the
// cluster has one; the cluster's stays.
func TestMadeBlindly(t *testing.T) {
	m := recordtest.NewMemory(nil)
	first := opened(t, m)
	store(t, first, "pki/root.crt", "cluster")
	store(t, first, "pki/deleted", "cluster")
	require.NoError(t, first.Delete(t.Context(), "pki/deleted"))
	deleted := time.Now().UnixMilli()
	require.Eventually(t, func() bool { return time.Now().UnixMilli() > deleted }, time.Second, time.Millisecond, "it is a deletion from before")

	core, logs := observer.New(zap.WarnLevel)
	k := NewKeeper(t.TempDir(), zap.New(core))
	for _, key := range []string{"pki/root.crt", "pki/new", "pki/deleted"} {
		store(t, k, key, "own")
		store(t, k, key, "own, again")
	}
	t.Cleanup(k.Attach(m, always))
	synced(t, k)
	for key, want := range map[string]string{"pki/root.crt": "cluster", "pki/new": "own, again", "pki/deleted": "own, again"} {
		require.Equal(t, want, load(t, k, key), key)
		require.Eventually(t, func() bool { return load(t, first, key) == want }, 10*time.Second, time.Millisecond, key)
	}
	require.Equal(t, "pki/root.crt", logs.FilterMessageSnippet("reload the configuration").All()[0].ContextMap()["key"])
}

// TestNotReady: nothing that is only here is told before the engine knows what
// the cluster knows.
func TestNotReady(t *testing.T) {
	m := recordtest.NewMemory(nil)
	k := keeperIn(t.TempDir())
	store(t, k, "root", "own")
	ready := make(chan struct{})
	t.Cleanup(k.Attach(m, func() bool {
		select {
		case <-ready:
			return true
		default:
			return false
		}
	}))
	require.Equal(t, "own", load(t, k, "root"))
	m.Inject(record.Record{Topic: record.Certificate, Key: "root", Source: "z", Time: 1 << 20, Revision: 1, Value: []byte(`{"value":"` + "Y2x1c3Rlcg==" + `"}`)})
	require.Equal(t, "cluster", load(t, k, "root"), "as soon as it is known")
	close(ready)
	synced(t, k)
	require.Equal(t, "cluster", load(t, k, "root"))
}

// TestEngineLost: an engine that was emptied gets its certificates back.
func TestEngineLost(t *testing.T) {
	dir := t.TempDir()
	k := keeperIn(dir)
	detach := k.Attach(recordtest.NewMemory(nil), always)
	store(t, k, "a", "1")
	store(t, k, "b", "1")
	require.NoError(t, k.Delete(t.Context(), "b"))
	detach()
	m := recordtest.NewMemory(nil)
	k = keeperIn(dir)
	t.Cleanup(k.Attach(m, always))
	synced(t, k)
	other := opened(t, m)
	require.Equal(t, "1", load(t, other, "a"))
	require.Equal(t, "-", load(t, other, "b"))
}

// TestCopyFollows: what other nodes store is in the copy a moment later.
func TestCopyFollows(t *testing.T) {
	m := recordtest.NewMemory(nil)
	a, b := opened(t, m), opened(t, m)
	long := strings.Repeat("long/", 100) + "\xff\x00"
	for _, key := range []string{"x", long} {
		store(t, a, key, "1")
		copied := func(want string) func() bool {
			return func() bool {
				e, ok := b.local.get(clean(key))
				return ok == (want != "") && string(e.Value) == want && !e.Pending
			}
		}
		require.Eventually(t, copied("1"), 10*time.Second, time.Millisecond)
		require.NoError(t, a.Delete(t.Context(), key))
		require.Eventually(t, copied(""), 10*time.Second, time.Millisecond)
	}
}

// deaf is an engine whose watchers hear nothing.
type deaf struct{ *recordtest.Memory }

func (deaf) Watch(record.Topic, func([]record.Record)) (stop func()) { return func() {} }

// TestUnseenChanges: a watcher that missed something compares everything.
func TestUnseenChanges(t *testing.T) {
	m := recordtest.NewMemory(nil)
	k := opened(t, deaf{m})
	store(t, opened(t, m), "a", "1")
	_, ok := k.local.get("a")
	require.False(t, ok)
	k.changed([]record.Record{{Topic: record.Certificate}})
	require.Eventually(t, func() bool {
		_, ok := k.local.get("a")
		return ok
	}, 10*time.Second, time.Millisecond)
}

func TestOddKeys(t *testing.T) {
	m, dir := recordtest.NewMemory(nil), t.TempDir()
	k := keeperIn(dir)
	t.Cleanup(k.Attach(m, always))
	synced(t, k)
	other := opened(t, m)
	keys := []string{
		strings.Repeat("a", 255), strings.Repeat("a", 256), "p/" + strings.Repeat("ü", 500), "p/\x00", "p/\xff\xfe",
		"\x01h", "\x01l" + digest("x"), "p/a b", "p/..hidden", "p/%2F", `p/back\slash`, "p/" + strings.Repeat("b/", 200) + "c",
	}
	for _, key := range keys {
		store(t, k, key, key)
	}
	require.NoError(t, k.Lock(t.Context(), "a lock"))
	for _, each := range []*Keeper{k, other} {
		for _, key := range keys {
			require.Equal(t, key, load(t, each, key))
			info, err := each.Stat(t.Context(), key)
			require.NoError(t, err)
			require.True(t, info.IsTerminal)
		}
		list, err := each.List(t.Context(), "p", true)
		require.NoError(t, err)
		require.Subset(t, list, []string{"p/\x00", "p/\xff\xfe", "p/" + strings.Repeat("ü", 500), "p/a b", "p/b/b"})
		require.NotContains(t, strings.Join(list, " "), mark)
	}
	for from, to := range map[string]string{"/p/a b/": "p/a b", "p//a b": "p/a b", "p/x/../a b": "p/a b", "../../p/a b": "p/a b"} {
		require.Equal(t, to, load(t, k, from))
	}
	require.NoError(t, k.Unlock(t.Context(), "a lock"))
	require.NoError(t, k.Delete(t.Context(), "p"))
	require.False(t, other.Exists(t.Context(), "p"))
	list, err := k.List(t.Context(), "", false)
	require.NoError(t, err)
	require.Len(t, list, 4)
	require.NoError(t, k.Delete(t.Context(), ""))
	list, err = other.List(t.Context(), "", true)
	require.NoError(t, err)
	require.Empty(t, list)
	require.Error(t, k.Store(t.Context(), "/", nil))
}

func TestTooLarge(t *testing.T) {
	k := opened(t, recordtest.NewMemory(nil))
	longest := strings.Repeat("k", maxKey)
	require.NoError(t, k.Store(t.Context(), longest, make([]byte, maxValue)))
	require.NoError(t, k.Store(t.Context(), "k", make([]byte, maxValue)))
	for _, each := range []*Keeper{k, keeperIn(t.TempDir())} {
		require.ErrorIs(t, each.Store(t.Context(), "k2", make([]byte, maxValue+1)), ErrTooLarge)
		require.ErrorIs(t, each.Store(t.Context(), longest+"k", nil), ErrTooLarge)
		require.False(t, each.Exists(t.Context(), "k2"))
	}
}

// TestDamagedCopy: a file that can't be read is as one that is not there.
func TestDamagedCopy(t *testing.T) {
	m, dir := recordtest.NewMemory(nil), t.TempDir()
	k := keeperIn(dir)
	detach := k.Attach(m, always)
	store(t, k, "a", "1")
	store(t, k, "b", "1")
	detach()
	require.NoError(t, os.WriteFile(k.local.path("a"), []byte(`{"key":`), 0o600))
	b, err := os.ReadFile(k.local.path("b"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(k.local.path("c"), b, 0o600)) // under another's name
	require.NoError(t, os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600))
	k = keeperIn(dir)
	require.Equal(t, "-", load(t, k, "a"))
	require.Equal(t, "-", load(t, k, "c"))
	list, err := k.List(t.Context(), "", true)
	require.NoError(t, err)
	require.Equal(t, []string{"b"}, list)
	t.Cleanup(k.Attach(m, always))
	synced(t, k)
	require.Equal(t, "1", load(t, keeperIn(dir), "a"), "it comes from the engine again")
}

// TestDamagedRecord: a record that is no certificate's is not served, and is
// replaced by what the copy has.
func TestDamagedRecord(t *testing.T) {
	m := recordtest.NewMemory(nil)
	k := opened(t, m)
	store(t, k, "a", "1")
	_, err := m.Update(t.Context(), record.Certificate, "b", record.Condition{}, record.Change{Value: []byte("7")})
	require.NoError(t, err)
	_, err = k.Load(t.Context(), "b")
	require.ErrorIs(t, err, errValue)
	list, err := k.List(t.Context(), "", true)
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, list)
	store(t, k, "b", "2")
	require.Equal(t, "2", load(t, k, "b"))
}

// TestCopyCannotBeWritten: the engine has it all the same.
func TestCopyCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	m := recordtest.NewMemory(nil)
	k := keeperIn(filepath.Join(file, "below"))
	t.Cleanup(k.Attach(m, always))
	require.NoError(t, k.Store(t.Context(), "a", []byte("1")))
	require.Equal(t, "1", load(t, opened(t, m), "a"))
	m.Fail(record.ErrUnavailable)
	require.Error(t, k.Store(t.Context(), "b", []byte("1")), "nobody has it")
}

// TestUnfinishedCopiesGo: what a killed process left may be a part of a key.
func TestUnfinishedCopiesGo(t *testing.T) {
	dir := t.TempDir()
	old, now := filepath.Join(dir, ".new-1"), filepath.Join(dir, ".new-2")
	for _, path := range []string{old, now} {
		require.NoError(t, os.WriteFile(path, []byte("half a key"), 0o600))
	}
	long := time.Now().Add(-2 * unfinishedAfter)
	require.NoError(t, os.Chtimes(old, long, long))
	require.NoError(t, keeperIn(dir).local.persist())
	require.NoFileExists(t, old)
	require.FileExists(t, now, "a command may be writing it")
}
