package pull

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
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

// TestAFullDisk has copies on a disk of 4 MiB, whose setting allows more.
func TestAFullDisk(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	root := t.TempDir()
	require.NoError(t, unix.Mount("tmpfs", root, "tmpfs", 0, "size=4m"))
	defer func() { _ = unix.Unmount(root, unix.MNT_DETACH) }()
	b := newBenchAt(t, filepath.Join(root, "om101"), 64*unit, nil)
	for i := range 7 {
		o := newOrigin(t, 3*unit, uint64(i))
		r, err := b.join(o)
		if err == nil {
			require.NoError(t, r.Close())
		} else {
			require.ErrorIs(t, err, ErrOnce)
			b.fetch(o)
		}
		b.idle()
	}
	require.Less(t, b.Stats().Files, int64(6), "the disk holds no more")
	require.Positive(t, b.Stats().Evicted)
	require.Empty(t, b.Stats().Disabled)

	// A clone has its place, whatever lies in the cache.
	big := newOrigin(t, 12*unit, 9)
	_, err := b.volume.Put(t.Context(), big.hash, "mp4", bytes.NewReader(big.data), big.size())
	require.NoError(t, err)

	// Somebody else fills the disk in the middle of a fetch.
	b.SetMax(64 * unit)
	o := newOrigin(t, 2*unit, 10)
	o.hold(1000)
	r, err := b.join(o)
	if errors.Is(err, ErrOnce) {
		r, err = b.join(o)
	}
	require.NoError(t, err)
	filler, err := os.Create(filepath.Join(root, "filler"))
	require.NoError(t, err)
	_, err = io.Copy(filler, endless{})
	require.ErrorIs(t, err, unix.ENOSPC)
	require.NoError(t, filler.Close())
	o.pass(o.size())
	got, err := io.ReadAll(r)
	require.NoError(t, err, "its room was reserved")
	require.True(t, bytes.Equal(o.data, got))
	require.NoError(t, r.Close())
	b.idle()
	b.eventually("and then gave way", func() bool { return b.Stats().Files == 0 })
	_, has, err := b.volume.Has(t.Context(), big.hash)
	require.NoError(t, err)
	require.True(t, has)
}

// endless reads as zeros for ever.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
