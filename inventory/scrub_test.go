package inventory

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory/disk"
	"github.com/ooseio/oose/inventory/scrub"
)

const day = 24 * time.Hour

// reading is a hook that notes which files are read, and when that began.
type reading struct {
	mu   sync.Mutex
	list []readFile
	now  string
}

type readFile struct {
	rel string
	at  time.Time
}

func (r *reading) hook(op, rel string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case op == "open":
		r.now = ""
	case op == "read" && r.now != rel:
		r.now = rel
		r.list = append(r.list, readFile{rel, time.Now()})
	}
	return nil
}

func (r *reading) files() []readFile {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.list)
}

// scrubbing runs the scrub of a scanned bench until stop is called.
func (b *bench) scrubbing() (stop func()) {
	b.t.Helper()
	b.scanAll()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	v := b.Volume
	go func() { done <- v.scrubOften(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		require.NoError(b.t, <-done)
	})
}

func some(n, size int) []byte {
	data := make([]byte, size)
	copy(data, []byte{byte(n), byte(n >> 8)})
	return data
}

func TestScrubReadsEachCloneInItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every = 32 * day
		var r reading
		b := openBench(t, func(c *VolumeConfig) { c.hook, c.VerifyEvery = r.hook, every })
		put := map[string]time.Time{}
		for n := range 40 {
			c := b.put(some(n, 1000), "mp4")
			put[disk.ClonePath(c.Hash, c.Ext, c.Deep)] = time.Now()
		}
		stop := b.scrubbing()
		defer stop()
		time.Sleep(every/8*7 - scrub.Gap(every) - time.Hour)
		synctest.Wait()
		require.Empty(t, r.files(), "nobody's turn yet")
		time.Sleep(2*every - (every/8*7 - scrub.Gap(every) - time.Hour))
		stop()
		turns := map[string]int{}
		days := map[int]bool{}
		for _, f := range r.files() {
			ago := f.at.Sub(put[f.rel])
			require.LessOrEqual(t, ago, every, "within the period")
			require.GreaterOrEqual(t, ago, every/8*7-scrub.Gap(every), "and not for nothing")
			put[f.rel] = f.at
			turns[f.rel]++
			days[int(ago/day)] = true
		}
		require.Len(t, turns, 40)
		for rel, n := range turns {
			require.GreaterOrEqual(t, n, 2, rel)
		}
		require.Greater(t, len(days), 2, "not all on one day")
		s := b.Status().Scrub
		require.EqualValues(t, len(r.files()), s.Verified)
		require.EqualValues(t, 1000*len(r.files()), s.Bytes)
		require.Zero(t, s.Bad+s.Errors+s.Missing)
		require.NotZero(t, s.Finished)
	})
}

// trusts plants files and records them on the operator's word.
func (b *bench) trusts(from, n, size int) map[string]bool {
	b.t.Helper()
	rels := map[string]bool{}
	for i := range n {
		c := b.plant(some(from+i, size), "avi", false)
		rels[disk.ClonePath(c.Hash, c.Ext, c.Deep)] = true
	}
	_, err := b.Scan(b.t.Context(), ScanOptions{Trust: true}, nil)
	require.NoError(b.t, err)
	return rels
}

func TestScrubReadsWhatWasTrustedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every = 32 * day
		var r reading
		b := openBench(t, func(c *VolumeConfig) { c.hook, c.VerifyEvery, c.ScrubRate = r.hook, every, 1e6 })
		for n := range 40 {
			b.put(some(n, 500_000), "mp4")
		}
		time.Sleep(every)
		trusted := b.trusts(1000, 10, 1000)
		r.list = nil
		require.EqualValues(t, 10, func() int64 {
			require.NoError(t, b.surveyScrub(t.Context(), time.Now()))
			return b.Status().Scrub.Unverified
		}())
		stop := b.scrubbing()
		defer stop()
		synctest.Wait()
		read := r.files()
		require.Len(t, read, 10, "at once")
		for _, f := range read {
			require.True(t, trusted[f.rel])
		}
		require.Zero(t, b.Status().Scrub.Unverified)

		// In the middle of a round as well.
		for len(r.files()) < 20 {
			time.Sleep(100 * time.Millisecond)
		}
		more := b.trusts(2000, 5, 1000)
		before := len(r.files())
		time.Sleep(time.Hour)
		stop()
		read = r.files()
		require.Len(t, read, 55)
		first := slices.IndexFunc(read, func(f readFile) bool { return more[f.rel] })
		require.LessOrEqual(t, first, before+1, "only what was being read comes before")
		for i, f := range read[first : first+5] {
			require.True(t, more[f.rel], i)
		}
		var rels []string
		for _, f := range read[10:] {
			rels = append(rels, f.rel)
		}
		require.False(t, slices.IsSorted(rels), "not in the order of hashes")
	})
}

func TestScrubTakesABadCloneOut(t *testing.T) {
	var mu sync.Mutex
	var told []content.Hash
	b := openBench(t, func(c *VolumeConfig) {
		c.VerifyEvery = time.Nanosecond
		c.Bad = func(h content.Hash) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, h)
		}
	})
	good, bad, gone := b.put(some(1, 3<<20), "mp4"), b.put(some(2, 3<<20), "mp4"), b.put(some(3, 1000), "mp4")
	flip(t, b, bad)
	b.scanAll()
	require.NoError(t, os.Remove(b.path(gone)))
	require.NoError(t, b.scrubRound(t.Context(), false))
	require.ElementsMatch(t, []content.Hash{bad.Hash, gone.Hash}, told)
	for _, c := range []Clone{bad, gone} {
		_, ok := b.holds(c.Hash)
		require.False(t, ok)
		_, err := b.Open(t.Context(), c)
		require.ErrorIs(t, err, ErrNotExist, "never served")
	}
	_, ok := b.holds(good.Hash)
	require.True(t, ok)
	kept := b.files(disk.Quarantine)
	require.Len(t, kept, 1, "never deleted")
	require.True(t, strings.HasPrefix(kept[0], bad.Hash.String()+".mp4."))
	s := b.Status().Scrub
	require.EqualValues(t, []int64{1, 1, 1, 0}, []int64{s.Verified, s.Bad, s.Missing, s.Errors})
	require.EqualValues(t, 6<<20, s.Bytes)

	// What the operator moves back is read before it counts.
	require.NoError(t, os.Rename(b.Root()+"/"+disk.Quarantine+"/"+kept[0], b.path(bad)))
	require.EqualValues(t, 1, b.scanAll().Failed)
	kept = b.files(disk.Quarantine)
	require.Len(t, kept, 1)
	require.NoError(t, os.WriteFile(b.Root()+"/"+disk.Quarantine+"/"+kept[0], some(2, 3<<20), 0o644))
	require.NoError(t, os.Rename(b.Root()+"/"+disk.Quarantine+"/"+kept[0], b.path(bad)))
	require.EqualValues(t, 1, b.scanAll().Appeared)
	_, ok = b.holds(bad.Hash)
	require.True(t, ok)
}

func TestScrubGoesOnAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every, size = 32 * day, 2 << 20
		var r reading
		b := openBench(t, func(c *VolumeConfig) { c.hook, c.VerifyEvery, c.ScrubRate = r.hook, every, 1<<20 })
		for n := range 12 {
			b.put(some(n, size), "mp4")
		}
		time.Sleep(every)
		stop := b.scrubbing()
		for b.Status().Scrub.Verified < 5 {
			time.Sleep(100 * time.Millisecond)
		}
		require.True(t, b.Status().Scrub.Running)
		stop()
		require.False(t, b.Status().Scrub.Running)
		before := len(r.files())
		b.reopen()
		stop = b.scrubbing()
		time.Sleep(time.Hour)
		stop()
		times := map[string]int{}
		for _, f := range r.files() {
			times[f.rel]++
		}
		require.Len(t, times, 12)
		require.LessOrEqual(t, len(r.files()), 13, "only the one that was being read is read again")
		require.GreaterOrEqual(t, len(r.files())-before, 6)
		require.EqualValues(t, 0, b.Status().Scrub.Due)
	})
}

func TestScrubKeepsItsBandwidth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every, size, rate = 32 * day, 1 << 20, 1 << 20
		var r reading
		b := openBench(t, func(c *VolumeConfig) { c.hook, c.VerifyEvery, c.ScrubRate = r.hook, every, rate })
		for n := range 30 {
			b.put(some(n, size), "mp4")
		}
		time.Sleep(every)
		b.scanAll()
		start := time.Now()
		require.NoError(t, b.scrubRound(t.Context(), false))
		took := time.Since(start)
		require.Len(t, r.files(), 30)
		require.InDelta(t, 30, took.Seconds(), 0.5)
		require.InDelta(t, rate, b.Status().Scrub.Rate, rate*0.1)

		// Changed settings hold at once, and who asks for a verification of the
		// whole store has the disk to itself.
		cfg := b.cfg
		cfg.ScrubRate = 10 * rate
		require.NoError(t, b.Configure(cfg))
		time.Sleep(every)
		stop := b.scrubbing()
		for b.Status().Scrub.Verified < 35 {
			time.Sleep(10 * time.Millisecond)
		}
		b.Volume.scrub.asked.Add(1)
		time.Sleep(time.Minute)
		held := b.Status().Scrub.Bytes
		time.Sleep(time.Hour)
		require.Equal(t, held, b.Status().Scrub.Bytes)
		b.Volume.scrub.asked.Add(-1)
		time.Sleep(5 * time.Second)
		require.EqualValues(t, 60, b.Status().Scrub.Verified)
		stop()
	})
}

func TestScrubOfAStoreThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBench(t, func(c *VolumeConfig) { c.VerifyEvery = time.Hour })
		c := b.put([]byte("abc"), "mp4")
		require.ErrorIs(t, b.scrubRound(t.Context(), false), errNotScrubbed)
		stop := b.scrubbing()
		b.Lost("taken away")
		time.Sleep(day)
		require.Zero(t, b.Status().Scrub.Verified)
		require.NoError(t, b.attach(t.Context(), false))
		b.scanAll()
		time.Sleep(2 * time.Hour)
		stop()
		require.NotZero(t, b.Status().Scrub.Verified)
		_, ok := b.holds(c.Hash)
		require.True(t, ok)
	})
}

// TestScrubSaysWhenItIsTooSlow: a rate that can't read the store in time shows.
func TestScrubSaysWhenItIsTooSlow(t *testing.T) {
	b := openBench(t, func(c *VolumeConfig) { c.VerifyEvery, c.ScrubRate = time.Second, 1000 })
	b.put(some(1, 1000), "mp4")
	require.NoError(t, b.surveyScrub(t.Context(), time.Now()))
	require.False(t, b.Status().Scrub.Slow)
	b.put(some(2, 1000), "mp4")
	require.NoError(t, b.surveyScrub(t.Context(), time.Now()))
	require.True(t, b.Status().Scrub.Slow)
	require.EqualValues(t, 2, b.Status().Scrub.Due)
	require.EqualValues(t, 2000, b.Status().Scrub.DueBytes)
}

// TestScrubAmongOthers: uploads, viewers, removals and verifications go on
// while a store is scrubbed, and nothing good is lost.
func TestScrubAmongOthers(t *testing.T) {
	b := openBench(t, func(c *VolumeConfig) { c.VerifyEvery, c.ScrubRate = time.Nanosecond, 1<<40 })
	b.scanAll()
	var keep []Clone
	for n := range 20 {
		keep = append(keep, b.put(some(n, 100_000), "mp4"))
	}
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for n := range 30 {
				c := b.put(some(1000*(worker+1)+n, 20_000), "mp4")
				f, err := b.Open(t.Context(), keep[n%len(keep)])
				if err == nil {
					f.Close()
				}
				_, err = b.Verify(t.Context(), keep[n%len(keep)].Hash, true)
				if err != nil {
					t.Errorf("verifying: %v", err)
				}
				if _, err = b.Drop(t.Context(), c.Hash, c.Kept+1); err != nil {
					t.Errorf("dropping: %v", err)
				}
			}
		})
	}
	for range 5 {
		require.NoError(t, b.scrubRound(t.Context(), false))
	}
	all.Wait()
	require.NoError(t, b.scrubRound(t.Context(), false))
	for _, c := range keep {
		_, ok := b.holds(c.Hash)
		require.True(t, ok)
	}
	require.Empty(t, b.files(disk.Quarantine))
	require.Zero(t, b.Status().Scrub.Bad)
	require.Len(t, b.files(disk.Content), 20)
}
