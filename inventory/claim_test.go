package inventory

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory/disk"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

// claims is what a registry knows of who has which store.
type claims struct {
	mu       sync.Mutex
	holder   map[string]string // by store: the node
	has      map[string]bool   // by node: it is available, and its disk is there
	source   map[string]string // by store
	complete map[string]bool   // by store
	told     int
	fail     error // what Rewritten returns
}

func newClaims() *claims {
	return &claims{holder: map[string]string{}, has: map[string]bool{}, source: map[string]string{}, complete: map[string]bool{}}
}

// claim is a node's Claim.
func (c *claims) claim(node string) func(string) error {
	return func(id string) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if other := c.holder[id]; other != "" && other != node && c.has[other] {
			return fmt.Errorf("%s has this store and answers", other)
		}
		c.holder[id] = node
		return nil
	}
}

func (c *claims) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func (c *claims) owner(store string) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.source[store], c.complete[store]
}

func (c *claims) rewritten(_ context.Context, id, source string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told++
	if c.fail == nil {
		c.source[id], c.complete[id] = source, true
	}
	return c.fail
}

// isComplete tells whether a store's inventory is all its owner's word.
func (c *claims) isComplete(id string) bool {
	_, complete := c.owner(id)
	return complete
}

// owned has a bench's volume go by claims.
func (c *claims) owned(source string) func(*VolumeConfig) {
	return func(cfg *VolumeConfig) {
		cfg.Source, cfg.Owner, cfg.Rewritten = func() string { return source }, c.owner, c.rewritten
	}
}

// former returns an engine that knows from another source what e knows.
func former(t *testing.T, e *recordtest.Memory, source string, clock *record.Clock) *recordtest.Memory {
	t.Helper()
	other := recordtest.NewMemory(clock)
	for r, err := range e.Walk(t.Context(), nil) {
		require.NoError(t, err)
		r.Source = source
		other.Inject(r)
	}
	return other
}

// by returns what a source says of a content.
func (b *bench) by(source string, h content.Hash) (record.Record, bool) {
	b.t.Helper()
	versions, err := b.engine.Get(b.t.Context(), record.Inventory, h.String())
	require.NoError(b.t, err)
	for _, r := range versions {
		if r.Source == source {
			return r, true
		}
	}
	return record.Record{}, false
}

func TestWhatFormerOwnersWroteIsPassedOver(t *testing.T) {
	x, e, clock := newIndex(t)
	c := newClaims()
	x.SetOwners(c.owner)
	a, gone := hashOf(t, content.SHA1, []byte("a")), hashOf(t, content.SHA1, []byte("gone"))
	older := func(h content.Hash, store string, size int64) record.Record {
		return record.Record{
			Topic: record.Inventory, Key: h.String(), Member: store, Source: "old", Time: clock.Next(), Revision: 1,
			Value: fmt.Appendf(nil, `{"ext":"mp4","size":%d,"kept":"1"}`, size),
		}
	}
	e.Inject(older(a, "s1", 1), older(a, "s2", 1), older(gone, "s1", 1))
	mine := Clone{Hash: a, Store: "s1", Ext: "mp4", Size: 2, Stored: 5, Kept: clock.Next()}
	store(t, e, mine)
	// The former owner's clock was ahead: its word would win.
	late := older(a, "s1", 3)
	late.Time, late.Revision, late.Deleted, late.Value = clock.Next()+record.Time(1<<30), 9, true, nil
	e.Inject(late)

	see := func() (found []string, totals Totals) {
		x.Forget()
		for _, h := range []content.Hash{a, gone} {
			p, err := x.Find(t.Context(), h)
			require.NoError(t, err)
			for _, clone := range p.Clones {
				found = append(found, fmt.Sprint(clone.Store, " ", clone.Size))
			}
		}
		totals, err := x.Count(t.Context(), "s1")
		require.NoError(t, err)
		return found, totals
	}
	found, totals := see()
	require.Equal(t, []string{"s2 1", "s1 1"}, found, "nobody is known to be complete")
	require.Equal(t, Totals{1, 1}, totals)

	c.set(func() { c.source["s1"] = "memory" })
	found, _ = see()
	require.Equal(t, []string{"s2 1", "s1 1"}, found, "claimed, and not yet written anew")

	c.set(func() { c.complete["s1"] = true })
	found, totals = see()
	require.Equal(t, []string{"s2 1", "s1 2"}, found)
	require.Equal(t, Totals{1, 2}, totals)
	var listed []Clone
	for clone, err := range x.List(t.Context(), "s1", content.Hash{}) {
		require.NoError(t, err)
		listed = append(listed, clone)
	}
	require.Equal(t, []Clone{mine}, listed)

	c.set(func() { c.source["s2"], c.complete["s2"] = "", true })
	found, _ = see()
	require.Equal(t, []string{"s1 2"}, found, "given up for good")
	x.SetOwners(nil)
	found, _ = see()
	require.Equal(t, []string{"s2 1", "s1 1"}, found)
}

func TestCountingLeavesWhatIsSharedAlone(t *testing.T) {
	versions := []record.Record{{Member: "a", Source: "x"}, {Member: "a", Source: "y"}, {Member: "b", Source: "x"}, {Member: "b", Source: "y"}}
	owners := Owners(func(store string) (string, bool) { return "y", store == "a" })
	got := owners.counting(versions)
	require.Equal(t, []record.Record{versions[1], versions[2], versions[3]}, got)
	require.Equal(t, record.Record{Member: "a", Source: "x"}, versions[0])
	require.Equal(t, record.Record{Member: "a", Source: "y"}, versions[1])
	none := Owners(func(string) (string, bool) { return "z", true })
	require.Empty(t, none.counting(versions))
}

// moved makes a store of some clones that another source described, on a medium
// that is now another node's.
func moved(t *testing.T, c *claims, change func(*VolumeConfig)) (*bench, []Clone) {
	t.Helper()
	first := openBench(t, nil)
	var clones []Clone
	for i := range 100 {
		clones = append(clones, first.put(fmt.Appendf(nil, "content %d", i), "mp4"))
	}
	id := first.Volume.ID()
	require.NoError(t, first.Volume.Close())
	b := openBenchOn(t, former(t, first.engine, "old", first.clock), first.clock, func(cfg *VolumeConfig) {
		cfg.Root = first.Root()
		c.owned("memory")(cfg)
		if change != nil {
			change(cfg)
		}
	})
	b.index.SetOwners(c.owner)
	require.Equal(t, id, b.Volume.ID(), "it is the same store")
	return b, clones
}

func TestANewOwnerWritesTheInventoryAnew(t *testing.T) {
	c := newClaims()
	b, clones := moved(t, c, nil)
	got, ok := b.holds(clones[0].Hash)
	require.True(t, ok, "it is served at once")
	require.Equal(t, clones[0], got)

	require.NoError(t, os.Remove(b.path(clones[1])))
	appeared := b.plant([]byte("appeared"), "mp4", true)
	b.run()
	b.eventually("written anew", func() bool { return c.isComplete(b.Volume.ID()) })
	b.index.Forget()
	for i, clone := range clones {
		r, ok := b.by("memory", clone.Hash)
		require.True(t, ok)
		if i == 1 {
			require.True(t, r.Deleted)
			continue
		}
		own, err := decodeClone(r)
		require.NoError(t, err)
		require.Equal(t, clone, own, "with the values there were")
	}
	_, ok = b.by("memory", appeared.Hash)
	require.True(t, ok)
	require.EqualValues(t, 99, b.Status().LastScan.Rewritten)

	// What the former owner said without anybody hearing it counts no more.
	for i, deleted := range []bool{true, false} {
		r, _ := b.by("old", clones[i].Hash)
		r.Time, r.Revision, r.Deleted = b.clock.Next()+record.Time(1<<30), 1<<20+uint64(i), deleted
		b.engine.Inject(r)
	}
	_, ok = b.holds(clones[0].Hash)
	require.True(t, ok)
	_, ok, err := b.Has(t.Context(), clones[0].Hash)
	require.NoError(t, err)
	require.True(t, ok, "neither for the volume itself")
	_, ok = b.holds(clones[1].Hash)
	require.False(t, ok)
	require.Zero(t, b.scanAll().Vanished)
	totals, err := b.index.Count(t.Context(), b.Volume.ID())
	require.NoError(t, err)
	require.EqualValues(t, 100, totals.Clones)

	// With the next start there is nothing left to do.
	told, before := c.told, b.head()
	require.Zero(t, b.scanAll().Rewritten)
	require.Equal(t, before, b.head())
	require.Equal(t, told, c.told)
}

// head is the last revision that the engine has written.
func (b *bench) head() (head uint64) {
	b.t.Helper()
	for r, err := range b.engine.Walk(b.t.Context(), nil) {
		require.NoError(b.t, err)
		if r.Source == "memory" {
			head = max(head, r.Revision)
		}
	}
	return head
}

func TestWritingAnewGoesOnWhereItWasInterrupted(t *testing.T) {
	c := newClaims()
	var mu sync.Mutex
	left := 40 // records that can be written
	b, clones := moved(t, c, func(cfg *VolumeConfig) {
		cfg.hook = func(step, _ string) error {
			mu.Lock()
			defer mu.Unlock()
			if step != "record" {
				return nil
			}
			if left--; left < 0 {
				return errors.New("injected")
			}
			return nil
		}
	})
	require.ErrorIs(t, b.Rewrite(t.Context(), nil), ErrIncomplete)
	require.False(t, c.isComplete(b.Volume.ID()))
	require.EqualValues(t, 40, b.head())
	_, ok := b.holds(clones[0].Hash)
	require.True(t, ok, "served meanwhile")

	mu.Lock()
	left = 1000
	mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	err := b.Rewrite(ctx, func(ScanProgress) { cancel() })
	if err != nil {
		require.ErrorIs(t, err, context.Canceled)
	}
	c.set(func() { c.fail = errors.New("not now") })
	require.ErrorContains(t, b.Rewrite(t.Context(), nil), "not now")
	require.EqualValues(t, len(clones), b.head(), "each once")
	c.set(func() { c.fail = nil })
	require.NoError(t, b.Rewrite(t.Context(), nil))
	require.True(t, c.isComplete(b.Volume.ID()))
	require.EqualValues(t, len(clones), b.head())
}

func TestCompletenessIsSaidUntilItIsHeard(t *testing.T) {
	c := newClaims()
	c.fail = errors.New("not now")
	b, _ := moved(t, c, nil)
	b.run()
	b.eventually("scanned", func() bool { return b.Status().Scanned })
	b.eventually("said more than once", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.told > 1
	})
	c.set(func() { c.fail = nil })
	b.eventually("heard", func() bool { return c.isComplete(b.Volume.ID()) })
}

func TestFoldersThatCannotBeReadAreNotWrittenAnew(t *testing.T) {
	c, f := newClaims(), &faults{}
	b, clones := moved(t, c, func(cfg *VolumeConfig) { cfg.hook = f.hook })
	f.fail("list", errors.New("injected"))
	require.Error(t, b.Rewrite(t.Context(), nil))
	require.False(t, c.isComplete(b.Volume.ID()))
	f.fail("list", nil)
	require.NoError(t, b.Rewrite(t.Context(), nil))
	require.EqualValues(t, len(clones), b.head())
}

// TestASourceThatChanges is a database that was restored from an old snapshot:
// its journal goes on as a new source.
func TestASourceThatChanges(t *testing.T) {
	c := newClaims()
	var mu sync.Mutex
	source := "old"
	b, clones := moved(t, c, func(cfg *VolumeConfig) {
		cfg.Source = func() string {
			mu.Lock()
			defer mu.Unlock()
			return source
		}
	})
	c.set(func() { c.source[b.Volume.ID()], c.complete[b.Volume.ID()] = "old", true })
	b.run()
	b.eventually("scanned", func() bool { return b.Status().Scanned })
	require.Zero(t, b.head(), "all is its own")
	mu.Lock()
	source = "memory"
	mu.Unlock()
	b.eventually("written anew without being asked", func() bool {
		s, complete := c.owner(b.Volume.ID())
		return complete && s == "memory"
	})
	require.EqualValues(t, len(clones), b.head())
}

// TestACopiedRoot has two nodes with the same store.
func TestACopiedRoot(t *testing.T) {
	c := newClaims()
	c.has["node1"] = true
	one := openBench(t, func(cfg *VolumeConfig) { cfg.Claim = c.claim("node1") })
	clone := one.put([]byte("abc"), "mp4")
	root := filepath.Join(t.TempDir(), "om102")
	require.NoError(t, os.CopyFS(root, os.DirFS(one.Root())))

	two := openBench(t, func(cfg *VolumeConfig) { cfg.Name, cfg.Root, cfg.Claim = "om102", root, c.claim("node2") })
	two.run()
	require.Equal(t, Offline, two.Status().State)
	require.Contains(t, two.Status().Reason, "node1 has this store and answers")
	require.Empty(t, two.Volume.ID(), "it goes by no name that is another's")
	_, err := two.Open(t.Context(), clone)
	require.ErrorIs(t, err, ErrOffline)
	_, err = two.Create(t.Context(), 3)
	require.ErrorIs(t, err, ErrOffline)
	require.ErrorContains(t, two.Adopt(t.Context()), "node1", "not on the operator's word either, while both are there")

	// The first node is gone for good: no restart is needed.
	c.set(func() { c.has["node1"] = false })
	two.eventually("it comes online by itself", func() bool { return two.Status().State == Online })
	require.Equal(t, one.Volume.ID(), two.Volume.ID())

	// And the first one, which is back, learns that.
	c.set(func() { c.has["node1"], c.has["node2"] = true, true })
	one.run()
	one.Lost("node2 has claimed it")
	require.Equal(t, Offline, one.Status().State)
	one.eventually("and why", func() bool {
		return one.Status().State == Offline && one.Status().Reason != "node2 has claimed it"
	})
	require.Contains(t, one.Status().Reason, "node2 has this store and answers")
	_, err = one.Open(t.Context(), clone)
	require.ErrorIs(t, err, ErrOffline)
}

func TestALostStore(t *testing.T) {
	c := newClaims()
	b := openBench(t, func(cfg *VolumeConfig) { cfg.Claim = c.claim("node1") })
	clone := b.put([]byte("abc"), "mp4")
	b.run()
	b.eventually("scanned", func() bool { return b.Status().Scanned })
	upload, err := b.Create(t.Context(), -1)
	require.NoError(t, err)
	_, err = upload.Write([]byte("abcd"))
	require.NoError(t, err)
	c.set(func() { c.holder[b.Volume.ID()], c.has["node2"] = "node2", true })
	b.Lost("node2 has claimed it")
	require.Contains(t, b.Status().Reason, "node2")
	b.Lost("again")
	_, err = upload.Commit(t.Context(), hashOf(t, content.SHA1, []byte("abcd")), "mp4")
	require.ErrorIs(t, err, ErrOffline, "what was under way ends")

	root, err := disk.Attach(b.Root(), disk.Options{Name: "om101"})
	require.NoError(t, err, "the lock is free")
	require.NoError(t, root.Close())
	_, ok := b.holds(clone.Hash)
	require.True(t, ok, "no record is touched")

	c.set(func() { c.has["node2"] = false })
	b.eventually("taken again when that is allowed", func() bool { return b.Status().State == Online && b.Status().Scanned })
	f, err := b.Open(t.Context(), clone)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// TestAMovedRoot has a disk unplugged at one node and plugged in at another.
func TestAMovedRoot(t *testing.T) {
	c := newClaims()
	c.has["node1"], c.has["node2"] = true, true
	one := openBench(t, func(cfg *VolumeConfig) {
		cfg.Claim = c.claim("node1")
		c.owned("memory")(cfg)
	})
	clone := one.put([]byte("abc"), "mp4")
	one.run()
	id := one.Volume.ID()
	one.eventually("complete", func() bool { return c.isComplete(id) })
	elsewhere := filepath.Join(t.TempDir(), "om201")
	require.NoError(t, os.Rename(one.Root(), elsewhere))
	one.eventually("noticed", func() bool { return one.Status().State == Offline })
	c.set(func() { c.has["node1"] = false }) // it says that it has it no more
	c.set(func() { c.complete[id] = false }) // what a claim says

	two := openBenchOn(t, former(t, one.engine, "first", one.clock), one.clock, func(cfg *VolumeConfig) {
		cfg.Name, cfg.Root, cfg.Claim = "om201", elsewhere, c.claim("node2")
		c.owned("memory")(cfg)
	})
	two.index.SetOwners(c.owner)
	require.Equal(t, id, two.Volume.ID())
	f, err := two.Open(t.Context(), clone)
	require.NoError(t, err, "served at once")
	require.NoError(t, f.Close())
	two.run()
	two.eventually("complete", func() bool { return c.isComplete(id) })
	_, ok := two.by("memory", clone.Hash)
	require.True(t, ok)
	two.index.Forget()
	_, ok = two.holds(clone.Hash)
	require.True(t, ok)
	one.eventually("its old place is empty", func() bool { return one.Status().State == Offline })
	require.NoDirExists(t, one.Root(), "and nothing is made there")
}
