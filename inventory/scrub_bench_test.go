package inventory

import (
	"crypto/rand"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/inventory/disk"
)

// BenchmarkScrub compares how fast clones are scrubbed with nothing to hold the
// scrub up, and how fast sha1sum reads the same files, one after the other in
// the same run. Neither leaves to the other what it read in the system's cache:
// the scrub gives it back, and sha1sum comes after it.
//
//	go test -run '^$' -bench Scrub -benchtime 3x ./inventory
func BenchmarkScrub(b *testing.B) {
	sha1sum, err := exec.LookPath("sha1sum")
	require.NoError(b, err, "the benchmark compares with sha1sum of the coreutils")
	for _, tc := range []struct {
		name        string
		count, size int
	}{{"256MB", 1, 256 << 20}, {"4MB", 64, 4 << 20}, {"64kB", 1000, 64 << 10}} {
		b.Run(tc.name, func(b *testing.B) {
			s := openBench(b, func(c *VolumeConfig) { c.VerifyEvery, c.ScrubRate = time.Nanosecond, 1<<50 })
			args := []string{"--"}
			data := make([]byte, tc.size)
			for range tc.count {
				_, _ = rand.Read(data)
				args = append(args, s.path(s.put(data, "mp4")))
			}
			s.scanAll()
			bytes := int64(tc.count) * int64(tc.size)
			b.SetBytes(bytes)
			var theirs time.Duration
			require.NoError(b, s.scrubRound(b.Context(), false)) // what was written leaves the cache
			b.ResetTimer()
			for b.Loop() {
				before := s.Status().Scrub.Verified
				require.NoError(b, s.scrubRound(b.Context(), false))
				require.EqualValues(b, tc.count, s.Status().Scrub.Verified-before)
				b.StopTimer()
				began := time.Now()
				require.NoError(b, exec.Command(sha1sum, args...).Run())
				theirs += time.Since(began)
				drop(b, args[1:])
				b.StartTimer()
			}
			b.ReportMetric(float64(bytes)*float64(b.N)/theirs.Seconds()/1e6, "sha1sum-MB/s")
		})
	}
}

// drop takes files out of the system's cache, where it can be told to.
func drop(b *testing.B, paths []string) {
	for _, path := range paths {
		f, err := os.Open(path)
		require.NoError(b, err)
		disk.Forget(f, 0, 0)
		require.NoError(b, f.Close())
	}
}
