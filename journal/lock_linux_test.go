package journal

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestLockedForAMoment: a child of this process that has not begun yet holds
// the lock of a database that was closed.
func TestLockedForAMoment(t *testing.T) {
	j := start(t, Options{})
	j.stop()
	f, err := os.Open(j.opts.Dir)
	require.NoError(t, err)
	require.NoError(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))
	time.AfterFunc(2*lockRetry, func() { _ = f.Close() })
	j = j.reopen()
	require.NotNil(t, j)
}
