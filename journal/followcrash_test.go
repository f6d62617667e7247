package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
)

// TestKillFollower kills a process that catches up, and one that starts over,
// before and after each of its commits. What it then has is whole, it claims
// no more than it has, and it gets to the end when it asks again.
func TestKillFollower(t *testing.T) {
	t.Parallel()
	_, a, _, c := away(t)
	c.stop()
	base := t.TempDir()
	over := filepath.Join(base, "over")
	require.NoError(t, os.WriteFile(over, wire(t, a, a.Source(), 1200), 0o600))
	first := filepath.Join(base, "first")
	require.NoError(t, os.WriteFile(first, wire(t, a, a.Source(), 0), 0o600))
	empty := filepath.Join(base, "empty")
	require.NoError(t, os.Mkdir(empty, 0o700))
	for stream, from := range map[string]string{over: c.opts.Dir, first: empty} {
		killed := 0
		for step := 1; ; step++ {
			dir := filepath.Join(base, "db")
			snapshot(t, from, dir)
			if killFollower(t, dir, stream, a.Source(), step) {
				break
			}
			killed++
			checkFollower(t, dir, a, stream)
			require.NoError(t, os.RemoveAll(dir))
		}
		require.GreaterOrEqual(t, killed, 4)
		require.NoError(t, os.RemoveAll(filepath.Join(base, "db")))
	}
}

// killFollower runs one that is killed at a step; it reports whether it had
// ended before.
func killFollower(t *testing.T, dir, stream, source string, step int) (ended bool) {
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), roleVariable+"=follow", "DIR="+dir, "STREAM="+stream, "SOURCE="+source, fmt.Sprint("STEP=", step))
	out, err := cmd.CombinedOutput()
	require.Empty(t, string(out))
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return false
	}
	require.NoError(t, err)
	return true
}

func checkFollower(t *testing.T, dir string, a *running, stream string) {
	j := start(t, Options{Dir: dir})
	defer j.stop()
	require.Len(t, j.keys("v"), len(j.keys("r")))
	want := newTotals()
	require.NoError(t, j.db.View(func(txn *badger.Txn) error { return addAll(txn, want) }))
	require.Equal(t, want.Digests[record.Inventory], j.committed.totals.Digests[record.Inventory])
	if claim := j.Claims()[a.Source()]; claim == a.Head() {
		require.Equal(t, a.Digests(), j.Digests())
	} else {
		require.Contains(t, []uint64{0, 1200}, claim)
	}
	b, err := os.ReadFile(stream)
	require.NoError(t, err)
	require.ErrorIs(t, j.Follow(t.Context(), a.Source(), "a", bytes.NewReader(b), nil), io.EOF)
	require.Equal(t, a.Digests(), j.Digests())
	require.Equal(t, a.Head(), j.Claims()[a.Source()])
}

func init() {
	roles["follow"] = func() error {
		step, err := strconv.Atoi(os.Getenv("STEP"))
		if err != nil {
			return err
		}
		stream, err := os.ReadFile(os.Getenv("STREAM"))
		if err != nil {
			return err
		}
		j, err := Open(Options{Dir: os.Getenv("DIR")})
		if err != nil {
			return err
		}
		self, err := os.FindProcess(os.Getpid())
		if err != nil {
			return err
		}
		die := func() error {
			if step--; step > 0 {
				return nil
			}
			if err := self.Kill(); err != nil {
				return err
			}
			select {}
		}
		j.sync = func(txn *badger.Txn) error {
			if err := die(); err != nil {
				return err
			}
			if err := txn.Commit(); err != nil {
				return err
			}
			return die()
		}
		ended := make(chan error, 1)
		go func() { ended <- j.Run(context.Background()) }()
		err = j.Follow(context.Background(), os.Getenv("SOURCE"), "a", bytes.NewReader(stream), nil)
		if !errors.Is(err, io.EOF) {
			return err
		}
		if err := j.Close(); err != nil {
			return err
		}
		return <-ended
	}
}
