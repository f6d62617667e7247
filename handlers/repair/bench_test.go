package repair

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory/disk"
)

// benchSize is the size of what is copied, in bytes.
const benchSize = 256 << 20

// BenchmarkCopy makes a clone of a large content at another node, over HTTP on
// this machine: read, hashed here, sent, hashed there, written and synced.
func BenchmarkCopy(b *testing.B) {
	w, h, _ := benchTown(b)
	b.SetBytes(benchSize)
	for b.Loop() {
		_, err := w.nodes[0].agent.Copy(b.Context(), h, w.nodes[1].id(), nil)
		require.NoError(b, err)
		b.StopTimer()
		drop(b, w.nodes[1], h)
		b.StartTimer()
	}
}

// BenchmarkCp copies the same file as cp and sync do: on one disk, unhashed.
func BenchmarkCp(b *testing.B) {
	w, _, path := benchTown(b)
	to := filepath.Join(w.nodes[1].volume.Root(), "copy")
	b.SetBytes(benchSize)
	for b.Loop() {
		from, err := os.Open(path)
		require.NoError(b, err)
		f, err := os.Create(to)
		require.NoError(b, err)
		_, err = io.Copy(f, from)
		require.NoError(b, err)
		require.NoError(b, f.Sync())
		require.NoError(b, f.Close())
		require.NoError(b, from.Close())
		b.StopTimer()
		require.NoError(b, os.Remove(to))
		b.StartTimer()
	}
}

func benchTown(b *testing.B) (w *town, h content.Hash, path string) {
	b.Helper()
	w = newTown(b, 2)
	h = w.put(strings.Repeat("0123456789abcdef", benchSize/16), w.nodes[0])
	for _, n := range w.nodes {
		n.agent.look()
	}
	return w, h, filepath.Join(w.nodes[0].volume.Root(), filepath.FromSlash(disk.ClonePath(h, "txt", false)))
}

// drop takes a clone away, as a removal of everything would.
func drop(b *testing.B, n *townNode, h content.Hash) {
	b.Helper()
	_, _, err := n.volume.Remove(context.Background(), h)
	require.NoError(b, err)
	_, have, err := n.volume.Has(context.Background(), h)
	require.NoError(b, err)
	require.False(b, have)
}
