package inventory

import (
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/inventory/disk"
)

// A removal that a disk can't obey at that moment is obeyed once it can, without
// a scan.
func TestRemovalIsTriedAgain(t *testing.T) {
	for name, fault := range map[string]error{"read-only": syscall.EROFS, "failing": syscall.EIO} {
		t.Run(name, func(t *testing.T) {
			f := &faults{}
			b := openBench(t, func(c *VolumeConfig) { c.hook = f.hook })
			b.run()
			c := b.put([]byte("removed"), "txt")
			b.eventually("it was scanned", func() bool { _, scanned, _ := b.scans.status(); return scanned })
			f.steps()
			f.fail("remove", fault)
			_, err := b.index.Remove(t.Context(), c.Hash)
			require.NoError(t, err)
			b.eventually("it was tried", func() bool { return slices.Contains(f.steps(), "remove") })
			require.NotEmpty(t, b.files(disk.Content))
			f.fail("remove", nil)
			b.eventually("it is gone", func() bool { return len(b.files(disk.Content)) == 0 })
			_, have := b.holds(c.Hash)
			require.False(t, have)
		})
	}
}
