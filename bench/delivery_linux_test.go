package bench

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkDelivery fetches the same file from Caddy's file_server and by a
// purchase, each from a process of its own, and tells the CPU time that the
// server took for each request.
//
//	go test -run '^$' -bench Delivery -benchtime 20000x ./bench
//	go test -run '^$' -bench 'Delivery/1GiB' -benchtime 5x ./bench
func BenchmarkDelivery(b *testing.B) {
	for _, size := range []struct {
		name  string
		bytes int64
	}{{"4KiB", 4 << 10}, {"1MiB", 1 << 20}, {"1GiB", 1 << 30}} {
		b.Run(size.name, func(b *testing.B) {
			folder := b.TempDir()
			file := filepath.Join(folder, "file.bin")
			require.NoError(b, os.WriteFile(file, bytes.Repeat([]byte("0123456789abcdef"), int(size.bytes/16)), 0o600))
			b.Run("file_server", func(b *testing.B) {
				s := start(b, fmt.Sprintf("root * %s\nfile_server", folder), "")
				fetch(b, s, s.url+"/file.bin", size.bytes)
			})
			b.Run("oose", func(b *testing.B) {
				s := start(b, "oose_purchase\noose_prism", fmt.Sprintf("oose {\n data %[1]s/data\n content {\n copies 1\n }\n store disk1 %[1]s/disk1 {\n reserve 1MB\n }\n}", folder))
				fetch(b, s, s.put(b, file), size.bytes)
			})
		})
	}
}

func fetch(b *testing.B, s *server, url string, size int64) {
	get := func() {
		res, err := http.Get(url) //nolint:gosec // it is our own
		require.NoError(b, err)
		n, err := io.Copy(io.Discard, res.Body)
		require.NoError(b, err)
		require.NoError(b, res.Body.Close())
		require.Equal(b, http.StatusOK, res.StatusCode)
		require.Equal(b, size, n)
	}
	get() // so that nothing is measured that happens once
	b.SetBytes(size)
	before := s.cpu(b)
	b.ResetTimer()
	for b.Loop() {
		get()
	}
	b.StopTimer()
	b.ReportMetric(float64((s.cpu(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

// BenchmarkUpload puts content into one store and tells the memory that the
// server took at the most, and the CPU time for each upload.
//
//	go test -run '^$' -bench Upload -benchtime 1x ./bench
func BenchmarkUpload(b *testing.B) {
	for _, size := range []struct {
		name  string
		bytes int64
	}{{"512MiB", 512 << 20}, {"10GB", 10e9}} {
		b.Run(size.name, func(b *testing.B) {
			folder := b.TempDir()
			s := start(b, "oose_purchase\noose_prism", fmt.Sprintf("oose {\n data %[1]s/data\n content {\n copies 1\n }\n store disk1 %[1]s/disk1 {\n reserve 1MB\n }\n}", folder))
			b.SetBytes(size.bytes)
			before := s.cpu(b)
			for b.Loop() {
				s.upload(b, io.LimitReader(zeros{}, size.bytes), size.bytes)
			}
			b.ReportMetric(float64((s.cpu(b)-before).Milliseconds())/float64(b.N), "cpu-ms/op")
			b.ReportMetric(float64(s.peak(b))/1e6, "peak-MB")
		})
	}
}

// zeros is content of any length.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
