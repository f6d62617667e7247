package inventory

import (
	"io"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory/disk"
)

// sector is a hook whose reads of one clone fail, and of the whole disk where
// it is told so.
type sector struct {
	hash  atomic.Pointer[string]
	op    string
	whole atomic.Bool
	left  atomic.Int64 // how often the clone's fail still; less than none: always
}

func (s *sector) hook(op, rel string) error {
	if s.whole.Load() && (op == "read" || op == "testread") {
		return syscall.EIO
	}
	if h := s.hash.Load(); op == s.op && h != nil && strings.Contains(rel, *h) && s.left.Add(-1) != -1 {
		if s.left.Load() >= 0 || s.left.Load() < -1 {
			return syscall.EIO
		}
	}
	return nil
}

func TestUnreadableClones(t *testing.T) {
	for _, tc := range []struct {
		name  string
		op    string
		times int64 // it fails
		whole bool
		lost  bool
		err   error
	}{
		{name: "a bad sector", op: "read", times: -10, lost: true},
		{name: "a file that can't be opened", op: "open", times: -10, lost: true},
		{name: "once", op: "read", times: 1, err: ErrSuspect},
		{name: "twice", op: "read", times: 2, err: ErrSuspect},
		{name: "the whole disk", op: "read", times: -10, whole: true, err: ErrSuspect},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := &sector{op: tc.op}
			var told atomic.Int64
			b := openBench(t, func(c *VolumeConfig) { c.hook, c.Bad = s.hook, func(content.Hash) { told.Add(1) } })
			c, other := b.put(some(1, 2<<20), "mp4"), b.put(some(2, 1000), "mp4")
			text := c.Hash.String()
			s.hash.Store(&text)
			s.left.Store(tc.times)
			s.whole.Store(tc.whole)
			v, err := b.Verify(t.Context(), c.Hash, true)
			if tc.err != nil {
				require.ErrorIs(t, err, tc.err)
			} else {
				require.NoError(t, err)
				require.False(t, v.OK)
				require.Empty(t, v.Actual)
			}
			require.Equal(t, Suspect, b.Status().State, "the disk is judged in any case")
			_, ok := b.holds(c.Hash)
			require.Equal(t, !tc.lost, ok)
			require.Equal(t, tc.lost, told.Load() == 1)
			require.Equal(t, tc.lost, len(b.files(disk.Quarantine)) == 1)
			_, ok = b.holds(other.Hash)
			require.True(t, ok)
		})
	}
}

// TestFailedReadIsLookedAtAtOnce: what a reader could not read is verified
// without waiting for a scan or a scrub, and again where it can't be judged yet.
func TestFailedReadIsLookedAtAtOnce(t *testing.T) {
	s := &sector{op: "read"}
	b := openBench(t, func(c *VolumeConfig) { c.hook = s.hook })
	c, whole := b.put(some(1, 100_000), "mp4"), b.put(some(2, 100_000), "mp4")
	b.run()
	b.eventually("scanned", func() bool { return b.Status().Scanned })
	text := c.Hash.String()
	s.left.Store(-10)
	s.hash.Store(&text)
	f, err := b.Open(t.Context(), c)
	require.NoError(t, err)
	defer f.Close()
	b.Failed(c.Hash, syscall.EIO)
	b.eventually("taken out", func() bool { _, ok := b.holds(c.Hash); return !ok })
	require.Len(t, b.files(disk.Quarantine), 1)

	// The whole disk fails for a while: nothing is taken out.
	s.whole.Store(true)
	b.Failed(whole.Hash, io.ErrUnexpectedEOF)
	b.eventually("offline", func() bool { return b.Status().State == Offline })
	s.whole.Store(false)
	b.eventually("verified", func() bool { now, ok := b.holds(whole.Hash); return ok && now.Verified > whole.Verified })
	require.Len(t, b.files(disk.Quarantine), 1)
	b.eventually("in use again", func() bool { return b.Writable() })
}
