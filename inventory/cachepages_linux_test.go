package inventory

import (
	"io"
	"os"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// cachedPages tells how many pages of the first part of a file, up to edge, and
// of the rest are in the system's cache.
func cachedPages(t *testing.T, path string, edge int64) (first, rest int) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	fi, err := f.Stat()
	require.NoError(t, err)
	data, err := unix.Mmap(int(f.Fd()), 0, int(fi.Size()), unix.PROT_READ, unix.MAP_SHARED)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Munmap(data)) }()
	page := int64(os.Getpagesize())
	pages := make([]byte, (fi.Size()+page-1)/page)
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)), uintptr(unsafe.Pointer(&pages[0])))
	require.Zero(t, errno)
	for i, p := range pages {
		switch {
		case p&1 == 0:
		case int64(i)*page < edge:
			first++
		default:
			rest++
		}
	}
	return first, rest
}

// onMedium is a root on a file system whose pages can be given back, which
// those of tmpfs can't.
func onMedium(t *testing.T) string {
	t.Helper()
	for _, dir := range []string{os.TempDir(), "."} {
		var st unix.Statfs_t
		require.NoError(t, unix.Statfs(dir, &st))
		if st.Type == unix.TMPFS_MAGIC {
			continue
		}
		root, err := os.MkdirTemp(dir, "oose-cache-test-")
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, os.RemoveAll(root)) })
		return root
	}
	require.FailNow(t, "neither TMPDIR nor the package's folder is on a disk: set TMPDIR to a folder that is")
	return ""
}

// TestReadingSparesTheCache: what verifying brings into the system's cache goes
// again, what viewers had there stays.
func TestReadingSparesTheCache(t *testing.T) {
	for _, tc := range []struct {
		name         string
		size, viewed int64
	}{
		{"nobody watches", 20<<20 + 12345, 0},
		{"the beginning is watched", 20<<20 + 12345, 1 << 20},
		{"up to the second window", 20<<20 + 12345, 9 << 20},
		{"all of it", 3 << 20, 3 << 20},
		{"small", 5000, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := openBench(t, func(c *VolumeConfig) { c.Root = onMedium(t) })
			c := b.put(make([]byte, tc.size), "mp4")
			f, err := os.Open(b.path(c))
			require.NoError(t, err)
			defer f.Close()
			require.NoError(t, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
			require.NoError(t, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM)) // no page that was not asked for
			_, err = io.Copy(io.Discard, io.NewSectionReader(f, 0, tc.viewed))
			require.NoError(t, err)
			first, rest := cachedPages(t, b.path(c), tc.viewed)
			require.EqualValues(t, tc.viewed/int64(os.Getpagesize()), first)
			require.Zero(t, rest)

			v, err := b.Verify(t.Context(), c.Hash, true)
			require.NoError(t, err)
			require.True(t, v.OK)
			after, rest := cachedPages(t, b.path(c), tc.viewed)
			require.Equal(t, first, after, "what was watched stays")
			require.Zero(t, rest, "what was read only to verify goes")
		})
	}
}
