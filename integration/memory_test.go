package integration

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// heapBound is what a node's heap may take at most, whatever is uploaded.
const heapBound = 100 << 20

// TestLargeUploadInBoundedMemory uploads 512 MiB and watches the heap.
func TestLargeUploadInBoundedMemory(t *testing.T) {
	parallel(t)
	n := Start(t, Config{})
	a := n.Login()
	digest := sha256.New()
	done := make(chan string, 1)
	go func() {
		res, text, err := a.SendUpload(Part{Field: "file", Name: "large.bin", HashType: "sha256",
			Body: io.TeeReader(io.LimitReader(endless{noise(t, 1<<20)}, 512<<20), digest)})
		if err != nil || res.StatusCode != http.StatusOK {
			done <- ""
			return
		}
		hash, _ := uploaded(text)
		done <- hash
	}()
	var highest int64
	for {
		select {
		case hash := <-done:
			require.Equal(t, hex.EncodeToString(digest.Sum(nil)), hash)
			t.Logf("highest heap seen: %d MiB", highest>>20)
			require.Less(t, highest, int64(heapBound))
			require.Positive(t, highest)
			return
		case <-n.Exited():
			t.Fatal("the node ended")
		default:
			highest = max(highest, heapOf(t, n))
		}
	}
}

var heapInUse = regexp.MustCompile(`(?m)^# HeapInuse = (\d+)$`)

// heapOf asks the admin endpoint for the bytes in the spans of the node's heap.
func heapOf(t *testing.T, n *Node) int64 {
	t.Helper()
	_, body := fetch(t, Client(t), http.MethodGet, n.AdminURL("/debug/pprof/heap?debug=1"))
	m := heapInUse.FindSubmatch(body)
	require.NotNil(t, m)
	bytes, err := strconv.ParseInt(string(m[1]), 10, 64)
	require.NoError(t, err)
	return bytes
}

// TestTreeOfOOSE2 serves a store that OOSE 2.x wrote: every pair of hex digits
// of a sha1 but the last is a folder.
func TestTreeOfOOSE2(t *testing.T) {
	parallel(t)
	n := Prepare(t, Config{Stores: storeOfOOSE2})
	contents := map[string][]byte{}
	for i, ext := range []string{"txt", "mp4", "zip", "jpg"} {
		data := noise(t, 10_000*i+7)
		hash := sha1Of(data)
		var pairs []string
		for j := 0; j < len(hash); j += 2 {
			pairs = append(pairs, hash[j:j+2])
		}
		file := n.Path("old", "content", strings.Join(pairs, "/")+"."+ext)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, data, 0o444))
		contents[hash+"."+ext] = data
	}
	before := filesIn(t, n.Path("old", "content"))
	n.Begin()
	a := n.Login()
	eventually(t, func() bool { return strings.Count(n.MustRun("inventory", "old"), "\n") >= len(contents) }, "the first scan finds what is there")
	for name, data := range contents {
		hash, ext, _ := strings.Cut(name, ".")
		require.NoError(t, getExactly(a.HTTP, n.URL("/"+a.Purchase(hash, ext, nil).Token+"/f."+ext), data), name)
		var detail struct{ RelativePath string }
		a.MustPost("/content/detail", map[string]string{"hash": hash}, &detail)
		require.FileExists(t, n.Path("old", "content", detail.RelativePath), "2.x tells where a file lies by this")
	}
	a.Upload("new.txt", "", strings.NewReader("new"))
	after := filesIn(t, n.Path("old", "content"))
	require.Subset(t, after, before, "nothing was moved")
	require.Len(t, after, len(before)+1)
	n.MustRun("verify", "old", "--force")
}

const storeOfOOSE2 = `store old $DIR/old {
			reserve 1MB
		}`
