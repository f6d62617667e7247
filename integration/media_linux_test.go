package integration

import (
	"bufio"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// media are small file systems for stores, which are there for as long as the
// test, whatever becomes of the nodes: a process of their own holds the mount
// namespace that the nodes are started from. A node mounts its medium where its
// store's root is, in a namespace of its own, so that it can be unmounted there.
type media struct {
	t   testing.TB
	pid int
}

// newMedia starts the process that holds them. It needs root, and ends with
// the test, however that ends: it reads what nobody writes.
func newMedia(t testing.TB) *media {
	t.Helper()
	holder := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", "echo ready; exec cat >/dev/null")
	in, err := holder.StdinPipe()
	require.NoError(t, err)
	out, err := holder.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, holder.Start())
	t.Cleanup(func() {
		_ = in.Close()
		_ = holder.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)
	return &media{t: t, pid: holder.Process.Pid}
}

// inside runs a command in the mount namespace of a process.
func inside(pid int, command ...string) error {
	out, err := exec.Command("nsenter", append([]string{"-t", fmt.Sprint(pid), "-m", "--"}, command...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, out)
	}
	return nil
}

// give has a node, which is not started yet, keep its store "content" on a
// medium of its own of so many megabytes.
func (m *media) give(n *Node, megabytes int) {
	m.t.Helper()
	medium, root := n.Path("medium"), n.Path("content")
	require.NoError(m.t, inside(m.pid, "mkdir", medium, root))
	require.NoError(m.t, inside(m.pid, "mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm", megabytes), "medium", medium))
	n.mounts = []string{medium + " " + root}
	n.space = append([]string{"nsenter", "-t", fmt.Sprint(m.pid), "-m", "--"}, n.space...)
}

// path is a path on a node's medium, as this process sees it.
func (m *media) path(n *Node, elem ...string) string {
	return fmt.Sprintf("/proc/%d/root%s", m.pid, n.Path(append([]string{"medium"}, elem...)...))
}

// unmount takes a running node's medium away. Files that it has open stay open.
func (m *media) unmount(n *Node) error { return inside(n.PID(), "umount", "--lazy", n.Path("content")) }

// mount gives it back.
func (m *media) mount(n *Node) error {
	return inside(n.PID(), "mount", "--bind", n.Path("medium"), n.Path("content"))
}

// remount makes a running node's medium read-only ("ro") or writable ("rw"), as
// soon as no file on it is open for writing.
func (m *media) remount(n *Node, mode string) (err error) {
	end, tick := time.Now().Add(patience), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for time.Now().Before(end) {
		if err = inside(n.PID(), "mount", "-o", "remount,bind,"+mode, n.Path("content")); err == nil || !strings.Contains(err.Error(), "busy") {
			return err
		}
		<-tick.C
	}
	return err
}
