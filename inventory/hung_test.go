package inventory

import (
	"context"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory/disk"
)

// TestCloseLeavesAHungDiskBehind: an upload that a disk does not let go of
// keeps neither the volume nor the process from ending.
func TestCloseLeavesAHungDiskBehind(t *testing.T) {
	f := &faults{}
	b := openBench(t, func(c *VolumeConfig) { c.hook = f.hook })
	hanging, err := b.Create(t.Context(), -1)
	require.NoError(t, err)
	idle, err := b.Create(t.Context(), -1)
	require.NoError(t, err)
	release := f.hang("write", "present", "remove")
	defer release()
	b.tune.readTest, b.tune.closing = 20*time.Millisecond, 20*time.Millisecond
	written := make(chan error)
	go func() {
		_, err := hanging.Write([]byte("abc"))
		written <- err
	}()
	go idle.Abort()
	err = b.Volume.Close()
	require.ErrorIs(t, err, errNoAnswer)
	require.ErrorContains(t, err, "still with it")
	release()
	require.NoError(t, <-written)
	hanging.Abort()
	b.eventually("nobody uses it", func() bool { return b.InFlight() == 0 })
}

// TestCloseEndsScans: a scan that somebody asked for does not keep a volume open.
func TestCloseEndsScans(t *testing.T) {
	f := &faults{}
	b := openBench(t, func(c *VolumeConfig) { c.hook = f.hook })
	release := f.hang("list")
	defer release()
	scanned := make(chan error)
	go func() {
		_, err := b.Scan(context.Background(), ScanOptions{}, nil)
		scanned <- err
	}()
	b.eventually("scanning", func() bool { return b.Status().Scanning })
	closed := make(chan error)
	go func() { closed <- b.Volume.Close() }()
	require.ErrorIs(t, <-scanned, context.Canceled)
	release()
	require.NoError(t, <-closed)
}

func TestVerifyAllThatWasEndedSaysSo(t *testing.T) {
	b := openBench(t, nil)
	b.put([]byte("abc"), "mp4")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := b.VerifyAll(ctx, true, nil)
	require.ErrorIs(t, err, context.Canceled)
}

// TestTrustedIsReadAfterARestart: what was recorded on the operator's word is
// verified, also where the process ended before that was done.
func TestTrustedIsReadAfterARestart(t *testing.T) {
	b := openBench(t, nil)
	c := b.plant([]byte("abc"), "mp4", false)
	_, err := b.Scan(t.Context(), ScanOptions{Trust: true}, nil)
	require.NoError(t, err)
	now, ok := b.holds(c.Hash)
	require.True(t, ok)
	require.Zero(t, now.Verified)
	b.reopen()
	b.run()
	b.eventually("verified", func() bool { now, ok := b.holds(c.Hash); return ok && now.Verified > 0 })
}

// TestSecondFileIsNotTakenForTheFirst: while the recorded file can't be looked
// at, another file of the same content does not take its place.
func TestSecondFileIsNotTakenForTheFirst(t *testing.T) {
	var failing atomic.Bool
	b := openBench(t, func(c *VolumeConfig) {
		c.hook = func(op, rel string) error {
			if op == "stat" && strings.HasSuffix(rel, ".mp4") && failing.Load() {
				return syscall.EIO
			}
			return nil
		}
	})
	c := b.put([]byte("abc"), "mp4")
	second := b.plant([]byte("abc"), "avi", false)
	failing.Store(true)
	_, _, err := b.check(t.Context(), second, nil)
	require.ErrorIs(t, err, ErrSuspect)
	now, ok := b.holds(c.Hash)
	require.True(t, ok)
	require.Equal(t, "mp4", now.Ext)
}

// TestCommitAfterAFailedWrite: a Commit that is refused leaves nothing either.
func TestCommitAfterAFailedWrite(t *testing.T) {
	f := &faults{}
	b := openBench(t, func(c *VolumeConfig) { c.hook = f.hook })
	tmp, err := b.Create(t.Context(), -1)
	require.NoError(t, err)
	f.fail("write", syscall.EIO)
	_, err = tmp.Write([]byte("abc"))
	require.ErrorIs(t, err, ErrSuspect)
	_, err = tmp.Commit(t.Context(), hashOf(t, content.SHA1, []byte("abc")), "mp4")
	require.ErrorIs(t, err, ErrSuspect)
	b.requireNothingLeft()
	require.Zero(t, b.InFlight())
}

// TestFullDiskIsSweptFirst: what an upload left behind goes, also where the
// disk is too full to make a folder that is missing.
func TestFullDiskIsSweptFirst(t *testing.T) {
	f := &faults{}
	b := openBench(t, func(c *VolumeConfig) { c.hook = f.hook })
	require.NoError(t, b.Volume.Close())
	left := b.Root() + "/" + disk.TempPath("LEFT")
	require.NoError(t, os.WriteFile(left, []byte("abc"), 0o644))
	require.NoError(t, os.Remove(b.Root()+"/"+disk.Cache))
	f.fail("mkdir", syscall.ENOSPC)
	b.open()
	require.Equal(t, Online, b.Status().State)
	_, err := os.Stat(left)
	require.ErrorIs(t, err, fs.ErrNotExist)
}
