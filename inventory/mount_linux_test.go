package inventory

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory/disk"
)

// inNamespace runs the test that calls it again, in a process with mounts of
// its own, and tells that process so. A user who is not root gets a user
// namespace for it.
func inNamespace(t *testing.T) bool {
	t.Helper()
	const marker = "OOSE_TEST_NAMESPACE"
	if os.Getenv(marker) == t.Name() {
		require.NoError(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		return true
	}
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), marker+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("this test needs root or user namespaces for a small tmpfs: %v", err)
	}
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: "+t.Name())
	return false
}

func mountTmpfs(t *testing.T, path, options string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(path, 0o755))
	require.NoError(t, unix.Mount("tmpfs", path, "tmpfs", 0, options))
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
}

func TestDiskFull(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	root := filepath.Join(t.TempDir(), "om101")
	mountTmpfs(t, root, "size=16m")
	b := openBench(t, func(c *VolumeConfig) { c.Root, c.Mount = root, true })
	first := b.put(make([]byte, 4<<20), "mp4")
	b.run()
	b.eventually("scanned", func() bool { return b.Status().Scanned })

	_, err := b.Create(t.Context(), 64<<20)
	require.ErrorIs(t, err, ErrFull, "known beforehand")
	require.True(t, b.Writable(), "something smaller fits")

	_, err = b.Put(t.Context(), first.Hash, "mp4", io.LimitReader(rand.Reader, 64<<20), -1)
	require.ErrorIs(t, err, ErrFull)
	require.Empty(t, b.files(disk.Temp), "the temporary file is gone")
	b.eventually("written again when its space is back", b.Writable)

	// Somebody else fills the disk.
	other := filepath.Join(root, "cache", "filler")
	require.NoError(t, os.WriteFile(other, make([]byte, 11<<20), 0o644))
	_, err = b.Put(t.Context(), first.Hash, "mp4", bytes.NewReader(make([]byte, 4<<20)), -1)
	require.ErrorIs(t, err, ErrFull)
	require.False(t, b.Writable())
	require.Equal(t, Online, b.Status().State)
	f, err := b.Open(t.Context(), first)
	require.NoError(t, err, "reading goes on")
	require.NoError(t, f.Close())
	require.NoError(t, os.Remove(other))
	b.eventually("written again", b.Writable)
	second := bytes.Repeat([]byte("x"), 4<<20)
	b.put(second, "mp4")
	require.Len(t, b.files(disk.Content), 2)
}

func TestReadOnlyDisk(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	root := filepath.Join(t.TempDir(), "om101")
	mountTmpfs(t, root, "size=16m")
	b := openBench(t, func(c *VolumeConfig) { c.Root, c.Mount = root, true })
	c := b.put([]byte("abc"), "mp4")
	require.NoError(t, unix.Mount("", root, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""), "nothing keeps the operator from it")
	_, err := b.Put(t.Context(), hashOf(t, content.SHA1, []byte("x")), "mp4", bytes.NewReader([]byte("x")), 1)
	require.ErrorIs(t, err, ErrReadOnly)
	require.False(t, b.Writable())
	f, err := b.Open(t.Context(), c)
	require.NoError(t, err)
	require.NoError(t, f.Close())

	b.reopen()
	require.Equal(t, Online, b.Status().State, "%s", b.Status().Reason)
	require.False(t, b.Writable())
	b.scanAll()
	require.NoError(t, unix.Mount("", root, "", unix.MS_REMOUNT, ""))
	b.run()
	b.eventually("written again", b.Writable)
	b.put([]byte("x"), "mp4")
}

func TestUnmountedDisk(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	root := filepath.Join(t.TempDir(), "om101")
	mountTmpfs(t, root, "size=16m")
	b := openBench(t, func(c *VolumeConfig) { c.Root, c.Mount = root, true })
	c := b.put([]byte("abc"), "mp4")
	b.run()
	b.eventually("scanned", func() bool { return b.Status().Scanned })
	tmp, err := b.Create(t.Context(), -1)
	require.NoError(t, err)
	require.NoError(t, unix.Unmount(root, unix.MNT_DETACH))
	_, err = tmp.Write([]byte("xyz"))
	require.NoError(t, err)
	_, _ = tmp.Commit(t.Context(), hashOf(t, content.SHA1, []byte("xyz")), "mp4")
	b.eventually("offline", func() bool { return b.Status().State == Offline })
	entries, err := os.ReadDir(root)
	require.NoError(t, err)
	require.Empty(t, entries, "nothing is written under the mount point")
	_, ok := b.holds(c.Hash)
	require.True(t, ok)

	mountTmpfs(t, root, "size=16m")
	b.testRead(t.Context())
	require.Equal(t, Offline, b.Status().State, "a new medium under an old name")
	entries, err = os.ReadDir(root)
	require.NoError(t, err)
	require.Empty(t, entries)
	require.NoError(t, b.Adopt(t.Context()))
	require.Equal(t, Online, b.Status().State)
	b.eventually("written", b.Writable)
}

func TestMountIsAskedFor(t *testing.T) {
	b := openBench(t, func(c *VolumeConfig) { c.Mount = true })
	s := b.Status()
	require.Equal(t, Offline, s.State)
	require.Contains(t, s.Reason, "no medium is mounted")
	require.ErrorIs(t, b.Adopt(t.Context()), disk.ErrRefused)
	require.NoDirExists(t, b.Root())
}
