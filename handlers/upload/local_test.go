package upload

import (
	"bytes"
	"context"
	"crypto/sha1"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/inventory/disk"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

// A clone that fails while it is copied is looked at at once.
func TestLocalCloneThatFails(t *testing.T) {
	clock := record.NewClock(nil)
	v, err := inventory.OpenVolume(inventory.VolumeConfig{Name: "om101", Root: t.TempDir()}, recordtest.NewMemory(clock), clock, zap.NewNop())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- v.Run(ctx) }()
	defer func() {
		cancel()
		require.NoError(t, <-done)
		require.NoError(t, v.Close())
	}()
	require.Eventually(t, func() bool { return v.Status().Scanned && v.Writable() }, time.Minute, 5*time.Millisecond)
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<12)
	sum := sha1.Sum(data)
	h, err := content.HashOf(content.SHA1, sum[:])
	require.NoError(t, err)
	c, err := v.Put(t.Context(), h, "mp4", bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)

	store := Local(v, "n", "g")
	body, err := store.Open(t.Context(), c)
	require.NoError(t, err)
	got, err := io.ReadAll(body)
	require.NoError(t, err)
	require.Equal(t, data, got)
	require.NoError(t, body.Close())
	_, ok, err := v.Has(t.Context(), h)
	require.NoError(t, err)
	require.True(t, ok)

	body, err = store.Open(t.Context(), c)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(filepath.Join(v.Root(), disk.ClonePath(h, c.Ext, c.Deep)), 1000))
	_, err = io.ReadAll(body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF, "never taken for the whole")
	require.NoError(t, body.Close())
	require.Eventually(t, func() bool { return v.Status().Clones == 0 }, time.Minute, 5*time.Millisecond)
	quarantined, err := os.ReadDir(filepath.Join(v.Root(), disk.Quarantine))
	require.NoError(t, err)
	require.Len(t, quarantined, 1)
}
