package inventory

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory/disk"
	"github.com/ooseio/oose/record"
)

// flip changes one byte of a clone's file and nothing else that can be seen.
func flip(t *testing.T, b *bench, c Clone) {
	data, err := os.ReadFile(b.path(c))
	require.NoError(t, err)
	data[len(data)/2] ^= 1
	require.NoError(t, os.WriteFile(b.path(c), data, 0o644))
	require.NoError(t, os.Chtimes(b.path(c), time.Unix(0, c.Mtime), time.Unix(0, c.Mtime)))
}

func TestVerifyFindsAFlippedByte(t *testing.T) {
	b := openBench(t, nil)
	c := b.put(make([]byte, 3<<20), "mp4")
	v, err := b.Verify(t.Context(), c.Hash, false)
	require.NoError(t, err)
	require.Equal(t, Verification{Expected: c.Hash.String(), Actual: c.Hash.String(), OK: true, Skipped: true, VerifiedAt: c.Verified}, v)
	v, err = b.Verify(t.Context(), c.Hash, true)
	require.NoError(t, err)
	require.True(t, v.OK)
	require.False(t, v.Skipped)

	flip(t, b, c)
	require.Zero(t, b.scanAll().Failed, "size and time are as recorded")
	v, err = b.Verify(t.Context(), c.Hash, true)
	require.NoError(t, err)
	require.False(t, v.OK)
	require.NotEqual(t, v.Expected, v.Actual)
	require.Len(t, v.Actual, 40)
	_, ok := b.holds(c.Hash)
	require.False(t, ok)
	require.Len(t, b.files(disk.Quarantine), 1, "kept for the operator")
	require.Empty(t, b.files(disk.Content))
	_, err = b.Verify(t.Context(), c.Hash, true)
	require.ErrorIs(t, err, ErrNotExist)
	b.put(make([]byte, 3<<20), "mp4")
}

func TestVerifyOfAVanishedFile(t *testing.T) {
	b := openBench(t, nil)
	c := b.put([]byte("abc"), "mp4")
	require.NoError(t, os.Remove(b.path(c)))
	_, err := b.Verify(t.Context(), c.Hash, false)
	require.ErrorIs(t, err, ErrNotExist)
	_, ok := b.holds(c.Hash)
	require.False(t, ok)
}

func TestVerifyOnADiskThatFails(t *testing.T) {
	f := &faults{}
	b := openBench(t, func(c *VolumeConfig) { c.hook = f.hook })
	c := b.put([]byte("abc"), "mp4")
	f.fail("read", syscall.EIO)
	f.fail("testread", syscall.EIO)
	_, err := b.Verify(t.Context(), c.Hash, true)
	require.ErrorIs(t, err, ErrSuspect)
	require.Equal(t, Suspect, b.Status().State)
	_, ok := b.holds(c.Hash)
	require.True(t, ok, "what could not be read is not judged")
	f.fail("read", nil)
	f.fail("testread", nil)
	f.fail("rename", syscall.EROFS)
	flip(t, b, c)
	v, err := b.Verify(t.Context(), c.Hash, true)
	require.NoError(t, err)
	require.False(t, v.OK)
	_, ok = b.holds(c.Hash)
	require.False(t, ok, "never served, also where it can't be moved")
}

func TestVerifyRefusesCollisionAttacks(t *testing.T) {
	b := openBench(t, nil)
	data := shatteredData(t)
	h, err := content.ParseHash("f92d74e3874587aaf443d1db961d4e26dde13e9c")
	require.NoError(t, err)
	c := Clone{Hash: h, Ext: "pdf"}
	path := b.path(c)
	require.NoError(t, os.MkdirAll(path[:len(path)-45], 0o755))
	require.NoError(t, os.WriteFile(path, data, 0o644))
	require.EqualValues(t, 1, b.scanAll().Failed)
	_, ok := b.holds(h)
	require.False(t, ok)
}

func TestVerifyAll(t *testing.T) {
	b := openBench(t, nil)
	good, bad, gone := b.put([]byte("good"), "mp4"), b.put([]byte("bad"), "mp4"), b.put([]byte("gone"), "mp4")
	flip(t, b, bad)
	require.NoError(t, os.Remove(b.path(gone)))
	r, err := b.VerifyAll(t.Context(), false, nil)
	require.NoError(t, err)
	require.Equal(t, VerifyResult{Skipped: 2, Missing: 1, Hashes: []string{gone.Hash.String()}}, r)
	var last ScanProgress
	r, err = b.VerifyAll(t.Context(), true, func(p ScanProgress) { last = p })
	require.NoError(t, err)
	require.Equal(t, VerifyResult{Verified: 1, Failed: 1, Bytes: 7, Hashes: []string{bad.Hash.String()}}, r)
	require.EqualValues(t, 2, last.Files)
	_, ok := b.holds(good.Hash)
	require.True(t, ok)
}

func TestRemove(t *testing.T) {
	b := openBench(t, nil)
	c := b.put([]byte("abc"), "mp4")
	got, v, err := b.Remove(t.Context(), c.Hash)
	require.NoError(t, err)
	require.Equal(t, c, got)
	require.True(t, v.OK)
	require.Empty(t, b.files(disk.Content))
	_, ok := b.holds(c.Hash)
	require.False(t, ok)
	require.Zero(t, b.Status().Clones)
	_, _, err = b.Remove(t.Context(), c.Hash)
	require.ErrorIs(t, err, ErrNotExist)

	c = b.put([]byte("abc"), "mp4")
	require.NoError(t, os.WriteFile(b.path(c), []byte("abd"), 0o644))
	_, v, err = b.Remove(t.Context(), c.Hash)
	require.NoError(t, err)
	require.False(t, v.OK)
	require.Len(t, b.files(disk.Quarantine), 1)
}

func TestDropObeysKeptTimes(t *testing.T) {
	b := openBench(t, nil)
	c := b.put([]byte("abc"), "mp4")
	for _, test := range []struct {
		before int64
		want   bool
	}{{-1, false}, {0, false}, {1, true}, {1, false}} {
		dropped, err := b.Drop(t.Context(), c.Hash, c.Kept+record.Time(test.before))
		require.NoError(t, err)
		require.Equal(t, test.want, dropped)
	}
	require.Empty(t, b.files(disk.Content))
}

func TestRunDropsWhatIsRemoved(t *testing.T) {
	b := openBench(t, nil)
	c, other := b.put([]byte("abc"), "mp4"), b.put([]byte("xyz"), "mp4")
	b.run()
	b.eventually("scanned", func() bool { return b.Status().Scanned })
	f, err := b.Open(t.Context(), c)
	require.NoError(t, err)
	defer f.Close()
	_, err = b.index.Remove(t.Context(), c.Hash)
	require.NoError(t, err)
	b.eventually("dropped", func() bool { return len(b.files(disk.Content)) == 1 })
	_, ok := b.holds(other.Hash)
	require.True(t, ok)

	// One that was away hears of it when it is back.
	require.NoError(t, os.Rename(b.Root(), b.Root()+".away"))
	b.eventually("offline", func() bool { return !b.Readable() })
	_, err = b.index.Remove(t.Context(), other.Hash)
	require.NoError(t, err)
	require.NoError(t, os.Rename(b.Root()+".away", b.Root()))
	b.eventually("dropped", func() bool { return len(b.files(disk.Content)) == 0 })
}
