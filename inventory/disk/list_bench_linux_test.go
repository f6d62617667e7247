package disk

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
)

// makeTree fills a root with empty files under random hashes of sha1.
func makeTree(tb testing.TB, path string, files, folders int, deep bool) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range files {
		sum := make([]byte, 20)
		for i := range sum {
			sum[i] = byte(rnd.Uint32())
		}
		at := rnd.IntN(folders)
		sum[0], sum[1] = byte(at>>8), byte(at)
		h, err := content.ParseHash(hex.EncodeToString(sum))
		require.NoError(tb, err)
		name := filepath.Join(path, ClonePath(h, "mp4", deep))
		require.NoError(tb, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(tb, os.WriteFile(name, nil, 0o644))
	}
}

// BenchmarkCollect compares the portable listing with the candidate for Linux,
// over a whole tree that the system has in its cache.
func BenchmarkCollect(b *testing.B) {
	for _, tree := range []struct {
		name           string
		files, folders int
		deep           bool
	}{{"new/15", 15000, 1000, false}, {"new/300", 30000, 100, false}, {"deep", 3000, 1000, true}} {
		path := b.TempDir()
		makeTree(b, path, tree.files, tree.folders, tree.deep)
		r, err := Attach(path, Options{Name: "bench"})
		require.NoError(b, err)
		b.Cleanup(func() { r.Close() })
		for name, collect := range map[string]func(string, string, *Listing) error{"portable": r.collect, "raw": r.collectRaw} {
			b.Run(fmt.Sprintf("%s/%s", tree.name, name), func(b *testing.B) {
				for b.Loop() {
					n := 0
					abs, _, err := r.Pairs("")
					require.NoError(b, err)
					for _, ab := range abs {
						cds, _, err := r.Pairs(ab)
						require.NoError(b, err)
						for _, cd := range cds {
							var l Listing
							require.NoError(b, collect(Content+"/"+ab+"/"+cd, ab+cd, &l))
							n += len(l.Found)
						}
					}
					require.Equal(b, tree.files, n)
				}
				b.ReportMetric(float64(tree.files)*float64(b.N)/b.Elapsed().Seconds(), "files/s")
			})
		}
	}
}
