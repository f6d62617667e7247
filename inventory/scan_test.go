package inventory

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory/disk"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

func TestScanBothWays(t *testing.T) {
	b := openBench(t, nil)
	kept, gone, touched, flipped := b.put([]byte("kept"), "mp4"), b.put([]byte("gone"), "mp4"), b.put([]byte("touched"), "mp4"), b.put([]byte("flipped"), "mp4")
	appeared := b.plant([]byte("appeared"), "webm", false)
	liar := b.plant([]byte("liar"), "mp4", false)
	require.NoError(t, os.WriteFile(b.path(liar), []byte("Liar"), 0o644))
	require.NoError(t, os.Remove(b.path(gone)))
	when := time.Unix(1_000_000, 0)
	require.NoError(t, os.Chtimes(b.path(touched), when, when))
	require.NoError(t, os.WriteFile(b.path(flipped), []byte("flopped"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(b.Root(), "content", "notes.txt"), nil, 0o644))

	r := b.scanAll()
	require.Equal(t, ScanResult{
		Started: r.Started, Finished: r.Finished, Files: 5, Bytes: r.Bytes,
		Appeared: 1, Vanished: 1, Changed: 1, Failed: 2, Foreign: 1,
	}, r)
	require.Equal(t, &r, b.Status().LastScan)
	require.True(t, b.Status().Scanned)
	for _, c := range []Clone{kept, touched, appeared} {
		now, ok := b.holds(c.Hash)
		require.True(t, ok)
		require.NotZero(t, now.Verified)
		require.Equal(t, c.Ext, now.Ext)
		f, err := b.Open(t.Context(), now)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	for _, c := range []Clone{gone, flipped, liar} {
		_, ok := b.holds(c.Hash)
		require.False(t, ok)
	}
	require.Len(t, b.files(disk.Quarantine), 2)
	require.EqualValues(t, 3, b.Status().Clones)

	again := b.scanAll()
	require.Equal(t, ScanResult{Started: again.Started, Finished: again.Finished, Files: 3, Bytes: again.Bytes, Foreign: 1}, again)
	now, _ := b.holds(touched.Hash)
	require.Equal(t, touched.Kept, now.Kept, "verifying is not keeping")
	require.Equal(t, touched.Stored, now.Stored)
}

func TestScanOfATreeOfOOSE2(t *testing.T) {
	root := t.TempDir()
	var clones []Clone
	for i := range 20 {
		data := fmt.Appendf(nil, "video %d", i)
		c := Clone{Hash: hashOf(t, content.SHA1, data), Ext: "mp4", Deep: true, Size: int64(len(data))}
		path := filepath.Join(root, filepath.FromSlash(disk.ClonePath(c.Hash, c.Ext, true)))
		require.Equal(t, 20, strings.Count(strings.TrimPrefix(path, root), "/")-1, "content, 19 folders, the file")
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, data, 0o644))
		clones = append(clones, c)
	}
	b := openBench(t, func(c *VolumeConfig) { c.Root = root })
	require.Equal(t, Online, b.Status().State, "a tree made elsewhere is taken: %s", b.Status().Reason)
	before := b.files(disk.Content)
	require.EqualValues(t, 20, b.scanAll().Appeared)
	for _, want := range clones {
		c, ok := b.holds(want.Hash)
		require.True(t, ok)
		require.True(t, c.Deep)
		f, err := b.Open(t.Context(), c)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		v, err := b.Verify(t.Context(), c.Hash, true)
		require.NoError(t, err)
		require.True(t, v.OK)
	}
	require.Equal(t, before, b.files(disk.Content), "nothing was moved")
	_, err := b.Drop(t.Context(), clones[0].Hash, record.Time(1)<<62)
	require.NoError(t, err)
	require.Len(t, b.files(disk.Content), 19)
}

func TestTrustedScan(t *testing.T) {
	b := openBench(t, nil)
	good := b.plant([]byte("good"), "mp4", false)
	bad := b.plant([]byte("bad"), "mp4", false)
	require.NoError(t, os.WriteFile(b.path(bad), []byte("worse"), 0o644))
	r, err := b.Scan(t.Context(), ScanOptions{Trust: true}, nil)
	require.NoError(t, err)
	require.EqualValues(t, 2, r.Appeared)
	c, ok := b.holds(bad.Hash)
	require.True(t, ok, "on the operator's word")
	require.Zero(t, c.Verified)

	b.run()
	b.eventually("verified first", func() bool { c, ok := b.holds(good.Hash); return ok && c.Verified > 0 })
	b.eventually("found out", func() bool { _, ok := b.holds(bad.Hash); return !ok })
}

func TestScanReportsProgress(t *testing.T) {
	b := openBench(t, nil)
	for i := range 10 {
		b.plant(fmt.Append(nil, i), "mp4", false)
	}
	var last ScanProgress
	_, err := b.Scan(t.Context(), ScanOptions{}, func(p ScanProgress) { last = p })
	require.NoError(t, err)
	require.Equal(t, ScanProgress{Folders: 256, Files: 10, Hashed: 10, Bytes: 10, Total: 10}, last)
}

func TestScanCanBeCancelledAndGoesOn(t *testing.T) {
	f := &faults{}
	b := openBench(t, func(c *VolumeConfig) { c.hook = f.hook; c.ScanWorkers = 1 })
	for i := range 20 {
		b.plant(fmt.Append(nil, i), "mp4", false)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := b.Scan(ctx, ScanOptions{}, func(p ScanProgress) {
		if b.Status().Clones >= 5 {
			cancel()
		}
	})
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, b.Status().Scanned)
	first := b.Status().Clones
	require.GreaterOrEqual(t, first, int64(5))
	require.EqualValues(t, 20-first, b.scanAll().Appeared)
}

func TestScanOfAnOperatorTakesOver(t *testing.T) {
	f := &faults{}
	b := openBench(t, func(c *VolumeConfig) { c.hook = f.hook })
	b.plant([]byte("abc"), "mp4", false)
	release := f.hang("read")
	defer release()
	background := make(chan error)
	go func() {
		_, err := b.scan(context.Background(), ScanOptions{}, nil, true)
		background <- err
	}()
	b.eventually("it reads", func() bool { return len(b.back.places) > 0 && b.Status().Scanning })
	r, err := b.Scan(t.Context(), ScanOptions{Trust: true}, nil)
	require.NoError(t, err)
	require.EqualValues(t, 1, r.Appeared)
	require.ErrorIs(t, <-background, context.Canceled)
}

func TestUnreadableFoldersTakeNothingBack(t *testing.T) {
	f := &faults{}
	b := openBench(t, func(c *VolumeConfig) { c.hook = f.hook })
	c := b.put([]byte("abc"), "mp4")
	f.fail("list", syscall.EACCES)
	r, err := b.Scan(t.Context(), ScanOptions{}, nil)
	require.Error(t, err)
	require.Zero(t, r.Vanished)
	f.fail("list", nil)

	dir := filepath.Dir(b.path(c))
	require.NoError(t, os.Rename(dir, dir+".away"))
	require.NoError(t, os.WriteFile(dir, nil, 0o644), "a file where the folder was")
	require.EqualValues(t, 1, b.scanAll().Vanished)
}

func TestOneUnreadableFolder(t *testing.T) {
	b := openBench(t, nil)
	c := b.put([]byte("abc"), "mp4")
	other := b.put([]byte("xyz"), "mp4")
	v := b.Volume
	s := &scan{v: v, root: v.disk.Load()}
	bad := &os.PathError{Op: "list", Err: syscall.EIO}
	require.NoError(t, s.unreadable(t.Context(), "content/aa", v.judge(bad)))
	require.EqualValues(t, 1, s.errors.Load())
	records := &cursor{v: v}
	if other.Hash.String() < c.Hash.String() {
		_, _, err := records.peek(t.Context())
		require.NoError(t, err)
		records.pass()
	}
	require.NoError(t, s.skip(t.Context(), records, c.Hash.String()[:4]))
	for {
		r, ok, err := records.peek(t.Context())
		require.NoError(t, err)
		if !ok {
			break
		}
		require.Equal(t, other.Hash, r.clone.Hash)
		records.pass()
	}
}

func TestScanLeavesDuplicatesAlone(t *testing.T) {
	b := openBench(t, nil)
	c := b.put([]byte("abc"), "mp4")
	b.plant([]byte("abc"), "m4v", false)
	b.plant([]byte("abc"), "mp4", true)
	r := b.scanAll()
	require.EqualValues(t, 2, r.Duplicates)
	require.Len(t, b.files(disk.Content), 3)
	now, ok := b.holds(c.Hash)
	require.True(t, ok)
	require.Equal(t, c, now)

	require.NoError(t, os.Remove(b.path(c)))
	b.scanAll()
	now, ok = b.holds(c.Hash)
	require.True(t, ok, "another file of the content takes its place")
	require.NotEqual(t, disk.ClonePath(c.Hash, c.Ext, c.Deep), disk.ClonePath(now.Hash, now.Ext, now.Deep))
	dropped, err := b.Drop(t.Context(), c.Hash, record.Time(1)<<62)
	require.NoError(t, err)
	require.True(t, dropped)
	require.Empty(t, b.files(disk.Content), "removing means all of them")
}

func TestScanObeysRemovals(t *testing.T) {
	b := openBench(t, nil)
	stale := b.put([]byte("stale"), "mp4")
	orphan := b.plant([]byte("orphan"), "mp4", false)
	for _, h := range []content.Hash{stale.Hash, orphan.Hash} {
		_, err := b.index.Remove(t.Context(), h)
		require.NoError(t, err)
	}
	r := b.scanAll()
	require.EqualValues(t, 1, r.Dropped)
	require.Empty(t, b.files(disk.Content))

	// What is put there after the removal is meant to be there.
	require.Eventually(t, func() bool { return b.clock.Wall().UnixMilli() > r.Finished }, time.Minute, time.Millisecond)
	b.plant([]byte("orphan"), "mp4", false)
	require.EqualValues(t, 1, b.scanAll().Appeared)
	_, ok := b.holds(orphan.Hash)
	require.True(t, ok)
}

func TestScanRepairsBrokenRecords(t *testing.T) {
	b := openBench(t, nil)
	c := b.put([]byte("abc"), "mp4")
	for _, h := range []content.Hash{c.Hash, hashOf(t, content.MD5, []byte("nowhere"))} {
		_, err := b.engine.Update(t.Context(), record.Inventory, h.String(), record.Condition{}, record.Change{Member: b.ID(), Value: []byte(`{"ext":"../x"}`)})
		require.NoError(t, err)
	}
	b.scanAll()
	now, ok := b.holds(c.Hash)
	require.True(t, ok)
	require.Equal(t, "mp4", now.Ext)
	totals, err := b.index.Count(t.Context(), b.ID())
	require.NoError(t, err)
	require.EqualValues(t, 1, totals.Clones)
}

func TestRunScansAgainAndAgain(t *testing.T) {
	b := openBench(t, func(c *VolumeConfig) { c.ScanEvery = 10 * time.Millisecond })
	b.run()
	b.eventually("scanned", func() bool { return b.Status().Scanned })
	c := b.plant([]byte("abc"), "mp4", false)
	b.eventually("found", func() bool { _, ok := b.holds(c.Hash); return ok })
}

// What the engine has lost is found on the disk at once, and until then nobody
// may say that the store does not hold it.
func TestLostRecordsAreFoundOnTheDisk(t *testing.T) {
	b := openBench(t, func(c *VolumeConfig) { c.ScanEvery = time.Hour })
	c := b.put([]byte("abc"), "mp4")
	b.run()
	b.eventually("scanned", func() bool { return b.Status().Scanned })
	b.engine.Lose(record.Inventory)
	b.eventually("found", func() bool { _, ok := b.holds(c.Hash); return ok && b.Status().Scanned })
}

// TestScanRepairsAnyMess makes a random mess of files and records, and holds
// the scan to leave a store in which both agree, and nothing sound was lost.
func TestScanRepairsAnyMess(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		clock := record.NewClock(nil)
		b := openBenchOn(t, recordtest.NewMemory(clock), clock, nil)
		defer b.Volume.Close()
		sound, contents := map[content.Hash]bool{}, map[content.Hash]bool{}
		for i := range rapid.IntRange(0, 12).Draw(rt, "contents") {
			mess(rt, b, fmt.Appendf(nil, "content %d", i), sound, contents)
		}
		_, err := b.Scan(context.Background(), ScanOptions{}, nil)
		require.NoError(rt, err)
		for h := range contents {
			p, err := b.index.Find(context.Background(), h)
			require.NoError(rt, err)
			require.Equal(rt, sound[h], len(p.Clones) == 1, "%s: %+v", h, p.Clones)
			if sound[h] {
				f, err := b.Open(context.Background(), p.Clones[0])
				require.NoError(rt, err)
				require.NoError(rt, f.Close())
			}
		}
		second, err := b.Scan(context.Background(), ScanOptions{}, nil)
		require.NoError(rt, err)
		require.Zero(rt, second.Appeared+second.Vanished+second.Changed+second.Failed+second.Dropped+second.Errors, "%+v", second)
		require.EqualValues(rt, len(sound), b.Status().Clones)
	})
}

// mess makes one content's file and record, each of which may lie.
func mess(rt *rapid.T, b *bench, data []byte, sound, contents map[content.Hash]bool) {
	typ := rapid.SampledFrom([]content.Type{content.MD5, content.SHA1, content.SHA256}).Draw(rt, "type")
	c := Clone{Hash: hashOf(b.t, typ, data), Store: b.ID(), Ext: rapid.SampledFrom([]string{"mp4", "bin"}).Draw(rt, "ext"), Deep: rapid.Bool().Draw(rt, "deep"), Size: int64(len(data))}
	contents[c.Hash] = true
	file := rapid.SampledFrom([]string{"none", "sound", "flipped", "short", "empty"}).Draw(rt, "file")
	switch file {
	case "sound":
		sound[c.Hash] = true
	case "flipped":
		data = bytes.ToUpper(data)
	case "short":
		data = data[1:]
	case "empty":
		data = nil
	}
	if file != "none" {
		require.NoError(b.t, os.MkdirAll(filepath.Dir(b.path(c)), 0o755))
		require.NoError(b.t, os.WriteFile(b.path(c), data, 0o644))
		info, err := os.Stat(b.path(c))
		require.NoError(b.t, err)
		c.Mtime = info.ModTime().UnixNano()
	}
	switch rapid.SampledFrom([]string{"none", "as it is", "wrong time", "wrong size", "wrong place", "broken"}).Draw(rt, "record") {
	case "none":
		return
	case "as it is":
		if file != "sound" && file != "none" {
			c.Mtime++ // whoever flips a byte leaves a trace; one who does not is found by verifying
		}
	case "wrong time":
		c.Mtime++
	case "wrong size":
		c.Size++
	case "wrong place":
		c.Ext = "webm"
	case "broken":
		c.Ext = "../.."
	}
	value, err := json.Marshal(c)
	require.NoError(b.t, err)
	_, err = b.engine.Update(context.Background(), record.Inventory, c.Hash.String(), record.Condition{}, record.Change{Member: c.Store, Value: value})
	require.NoError(b.t, err)
}
