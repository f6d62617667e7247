package integration

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// within is a path as the node's process sees it, with its own mounts.
func (n *Node) within(elem ...string) string {
	return fmt.Sprintf("/proc/%d/root%s", n.PID(), n.Path(elem...))
}

// exitDamaged is the exit status of commands that found damage.
const exitDamaged = 4

// storeOnly is a configuration of one store, for what one disk's state decides.
const storeOnly = `store disk1 $DIR/disk1 {
			reserve 1MB
		}`

// TestFullDisk fills a small file system through the API.
func TestFullDisk(t *testing.T) {
	parallel(t)
	n := Prepare(t, Config{Stores: storeOnly})
	n.mounts = []string{"24m " + n.Path("disk1")}
	n.Begin()
	a := n.Login()
	first := noise(t, 4<<20)
	hash := a.Upload("first.bin", "", bytes.NewReader(first))
	p := a.Purchase(hash, "bin", nil)

	var kept []string
	full := false
	for range 12 {
		res, text, err := a.SendUpload(Part{Field: "file", Name: "f.bin", Body: bytes.NewReader(noise(t, 4<<20))})
		require.NoError(t, err)
		if res.StatusCode == http.StatusInsufficientStorage {
			require.Contains(t, string(text), "error")
			full = true
			break
		}
		require.Equal(t, http.StatusOK, res.StatusCode, "%s", text)
		h, err := uploaded(text)
		require.NoError(t, err)
		kept = append(kept, h)
	}
	require.True(t, full, "the disk was never full")
	require.NotEmpty(t, kept)
	// A file whose size nobody announced runs into the end of the disk.
	res, text, err := a.SendUpload(Part{Field: "file", Name: "g.bin", Body: io.LimitReader(endless{noise(t, 1<<16)}, 30<<20)})
	require.NoError(t, err)
	require.Equal(t, http.StatusInsufficientStorage, res.StatusCode, "%s", text)
	require.Empty(t, unfinished(t, n.within("disk1")), "nothing unfinished stays")

	require.NoError(t, getExactly(a.HTTP, n.URL("/"+p.Token+"/f.bin"), first), "what is there is served")
	for _, h := range kept {
		a.MustPost("/content/remove", map[string]string{"hash": h}, nil)
	}
	eventually(t, func() bool {
		h, err := upload(a, []byte("there is room again"))
		return err == nil && h == sha256Of([]byte("there is room again"))
	}, "uploads work again when there is space")
	require.NoError(t, getExactly(a.HTTP, n.URL("/"+p.Token+"/f.bin"), first))
}

// endless repeats its bytes for ever.
type endless struct{ block []byte }

func (e endless) Read(p []byte) (int, error) { return copy(p, e.block), nil }

// TestReadOnlyDisk remounts a store's file system read-only below a running node.
func TestReadOnlyDisk(t *testing.T) {
	parallel(t)
	n := Prepare(t, Config{})
	n.mounts = []string{"64m " + n.Path("disk1")}
	n.Begin()
	a := n.Login()
	data := noise(t, 100_000)
	hash := a.Upload("f.bin", "", bytes.NewReader(data))
	p := a.Purchase(hash, "bin", nil)
	remount(t, n, "disk1", "ro")

	require.NoError(t, getExactly(a.HTTP, n.URL("/"+p.Token+"/f.bin"), data), "reads go on")
	more := noise(t, 100_000)
	hash = a.Upload("g.bin", "", bytes.NewReader(more))
	var detail struct{ Map []string }
	a.MustPost("/content/detail", map[string]string{"hash": hash}, &detail)
	require.Equal(t, []string{"edge1:disk2"}, detail.Map, "the other disk takes what is new")

	remount(t, n, "disk1", "rw")
	eventually(t, func() bool {
		hash, err := upload(a, noise(t, 1000))
		if err != nil {
			return false
		}
		a.MustPost("/content/detail", map[string]string{"hash": hash}, &detail)
		return len(detail.Map) == 2
	}, "the disk is used again when it can be written")
}

func TestOnlyDiskReadOnly(t *testing.T) {
	parallel(t)
	n := Prepare(t, Config{Stores: storeOnly})
	n.mounts = []string{"64m " + n.Path("disk1")}
	n.Begin()
	a := n.Login()
	data := noise(t, 1000)
	p := a.Purchase(a.Upload("f.bin", "", bytes.NewReader(data)), "bin", nil)
	remount(t, n, "disk1", "ro")
	res, text, err := a.SendUpload(Part{Field: "file", Name: "f.bin", Body: bytes.NewReader(noise(t, 1000))})
	require.NoError(t, err)
	require.Contains(t, []int{http.StatusServiceUnavailable, http.StatusInsufficientStorage}, res.StatusCode, "%s", text)
	require.Contains(t, string(text), `"error"`)
	require.NotContains(t, string(text), n.Dir, "no path in an answer")
	require.NoError(t, getExactly(a.HTTP, n.URL("/"+p.Token+"/f.bin"), data))
}

// remount makes a node's own file system read-only or writable.
func remount(t *testing.T, n *Node, disk, mode string) {
	t.Helper()
	args := []string{"-t", fmt.Sprint(n.PID()), "-m"}
	if os.Getuid() != 0 {
		args = append(args, "-U", "--preserve-credentials")
	}
	out, err := exec.Command("nsenter", append(args, "mount", "-o", "remount,"+mode, n.Path(disk))...).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// TestVanishedRoot takes a store's root away below a running node, and brings it back.
func TestVanishedRoot(t *testing.T) {
	parallel(t)
	n := Start(t, Config{})
	a := n.Login()
	data := noise(t, 100_000)
	p := a.Purchase(a.Upload("f.bin", "", bytes.NewReader(data)), "bin", nil)
	require.NoError(t, os.Rename(n.Path("disk1"), n.Path("gone")))
	require.NoError(t, getExactly(a.HTTP, n.URL("/"+p.Token+"/f.bin"), data), "the other clone is served")
	eventually(t, func() bool {
		hash, err := upload(a, noise(t, 1000))
		if err != nil {
			return false
		}
		var detail struct{ Map []string }
		a.MustPost("/content/detail", map[string]string{"hash": hash}, &detail)
		return len(detail.Map) == 1 && detail.Map[0] == "edge1:disk2"
	}, "uploads go to the other disk")
	require.NoDirExists(t, n.Path("disk1", "content"), "nothing is written where the root was")

	// An empty folder in its place, as below a disk that is not mounted, is not it.
	require.NoError(t, os.MkdirAll(n.Path("disk1"), 0o755))
	n.Stop()
	n.Restart()
	eventually(t, func() bool { return getExactly(a.HTTP, n.URL("/"+p.Token+"/f.bin"), data) == nil }, "the other clone is served after the start")
	require.Empty(t, filesIn(t, n.Path("disk1")), "a known store without its marker is offline")
	require.Contains(t, storeState(t, n, "disk1"), "offline")
	require.NoError(t, os.Remove(n.Path("disk1")))
	require.NoError(t, os.Rename(n.Path("gone"), n.Path("disk1")))
	eventually(t, func() bool { return strings.Contains(storeState(t, n, "disk1"), "online") }, "the store is back with its root")
}

// storeState is what the status says about a store.
func storeState(t *testing.T, n *Node, name string) string {
	t.Helper()
	stores, _ := statusOf(t, n)["stores"].([]any)
	for _, s := range stores {
		if m, ok := s.(map[string]any); ok && m["name"] == name {
			return fmt.Sprint(m["state"])
		}
	}
	t.Fatalf("no store %s in the status", name)
	return ""
}

// TestFlippedByte changes one byte of a clone behind the node's back.
func TestFlippedByte(t *testing.T) {
	parallel(t)
	n := Start(t, Config{})
	a := n.Login()
	data := noise(t, 200_000)
	hash := a.Upload("f.bin", "", bytes.NewReader(data))
	p := a.Purchase(hash, "bin", nil)
	clone := n.Path("disk1", "content", hash[:2], hash[2:4], hash+".bin")
	require.FileExists(t, clone)
	info, err := os.Stat(clone)
	require.NoError(t, err)
	bad := bytes.Clone(data)
	bad[100_000] ^= 1
	require.NoError(t, os.Chmod(clone, 0o600))
	require.NoError(t, os.WriteFile(clone, bad, 0o600))
	require.NoError(t, os.Chtimes(clone, info.ModTime(), info.ModTime()), "size and time as before")

	r := n.Run("verify", "disk1", "--force", "--json")
	require.Equal(t, exitDamaged, r.Code, r.Err)
	require.Contains(t, r.Out, hash, r.Err)
	require.Len(t, filesIn(t, n.Path("disk1", "quarantine")), 1)
	require.NoError(t, getExactly(a.HTTP, n.URL("/"+p.Token+"/f.bin"), data), "the sound clone is served")
	n.Eventually(func() bool {
		made, err := os.ReadFile(clone)
		return err == nil && bytes.Equal(made, data)
	}, "it is made anew of the sound one")
	n.Eventually(func() bool { return detail(a, hash).Count == 2 }, "and counted")
}

// TestFilesBehindOurBack adds and removes files in a store's folder; a scan
// brings the index and the disk together.
func TestFilesBehindOurBack(t *testing.T) {
	parallel(t)
	n := Start(t, Config{Stores: storeOnly})
	a := n.Login()
	gone := a.Upload("gone.bin", "", bytes.NewReader(noise(t, 1000)))
	data := noise(t, 2000)
	appeared := sha1Of(data)
	folder := n.Path("disk1", "content", appeared[:2], appeared[2:4])
	require.NoError(t, os.MkdirAll(folder, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(folder, appeared+".txt"), data, 0o644))
	lie := sha1Of([]byte("something else"))
	folder = n.Path("disk1", "content", lie[:2], lie[2:4])
	require.NoError(t, os.MkdirAll(folder, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(folder, lie+".txt"), data, 0o644))
	require.NoError(t, os.Remove(n.Path("disk1", "content", gone[:2], gone[2:4], gone+".bin")))

	r := n.Run("scan", "disk1")
	require.Equal(t, exitDamaged, r.Code, "a file is not what its name says: %s%s", r.Out, r.Err)
	listed := n.MustRun("inventory", "disk1")
	require.Contains(t, listed, appeared)
	require.NotContains(t, listed, gone)
	require.NotContains(t, listed, lie, "a file under another's name is not counted")
	res, body := a.Get(n.URL("/static/" + appeared + "/a.txt"))
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.True(t, bytes.Equal(data, body))
	for _, hash := range []string{gone, lie} {
		res, _ = a.Get(n.URL("/static/" + hash + "/a.txt"))
		require.Equal(t, http.StatusNotFound, res.StatusCode)
	}
}
