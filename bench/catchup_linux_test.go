package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/integration/freeport"
	"github.com/ooseio/oose/purchase"
)

var records = flag.Int("records", 100_000, "records that the catching up begins with")

// BenchmarkCatchUp has a node with an empty database join one that holds many
// purchases, each a process of its own, and tells how fast it has them all, what
// memory both took at the most, and what a purchase takes on the disk.
//
//	go test -run '^$' -bench CatchUp -benchtime 1x ./bench -args -records 1000000
func BenchmarkCatchUp(b *testing.B) {
	folder := b.TempDir()
	fill(b, folder, *records)
	first := startNode(b, folder, "one", "")
	for b.Loop() {
		began := time.Now()
		second := startNode(b, b.TempDir(), "two", "join "+first.url)
		require.Eventually(b, func() bool {
			res, err := http.Get(second.url + "/ping")
			if err != nil {
				return false
			}
			defer res.Body.Close()
			return res.StatusCode == http.StatusOK
		}, 10*time.Minute, 10*time.Millisecond)
		b.ReportMetric(float64(*records)/time.Since(began).Seconds(), "records/s")
		b.ReportMetric(float64(second.peak(b))/1e6, "follower-peak-MB")
		b.ReportMetric(float64(first.peak(b))/1e6, "server-peak-MB")
		b.ReportMetric(float64(second.own(b))/1e6, "follower-own-MB")
		b.ReportMetric(float64(onDisk(b, filepath.Join(folder, "data", "meta")))/float64(*records), "disk-B/record")
		second.stop()
	}
}

// startNode runs a node of a cluster.
func startNode(b *testing.B, folder, name, join string) *server {
	b.Helper()
	address := freeport.Address(b)
	return startAt(b, address, "oose_purchase\noose_prism", fmt.Sprintf(
		"oose {\n name %[2]s\n data %[1]s/data\n cluster {\n secret a-secret-of-the-benchmarks\n address http://%[3]s\n %[4]s\n }\n}",
		folder, name, address, join))
}

// fill makes a node's database with so many purchases that it made itself.
func fill(b *testing.B, folder string, n int) {
	b.Helper()
	hash, err := content.ParseHash(someHash)
	require.NoError(b, err)
	m, _ := onBadger(b, filepath.Join(folder, "data"))
	defer m.close()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for next.Add(1) <= int64(n) {
				if _, _, err := m.book.Make(context.Background(), purchase.Spec{Hash: hash, Ext: "mp4", Life: 24 * time.Hour}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// onDisk is what the files of a folder take, without holes.
func onDisk(b *testing.B, folder string) (bytes int64) {
	b.Helper()
	require.NoError(b, filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		var stat syscall.Stat_t
		if err == nil && entry.Type().IsRegular() && filepath.Base(path) != "ballast" {
			err = syscall.Stat(path, &stat)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // merged meanwhile
		}
		bytes += stat.Blocks * 512
		return err
	}))
	return bytes
}
