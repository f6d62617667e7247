package journal

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

func open(t *testing.T) record.Engine { return start(t, Options{}) }

func TestSuite(t *testing.T) {
	t.Parallel()
	recordtest.Run(t, open)
}

func TestSuiteReopen(t *testing.T) {
	recordtest.RunReopen(t, open, func(_ *testing.T, e record.Engine) record.Engine { return e.(*running).reopen() })
}

// TestSuiteSmallCache runs the suite where hardly anything stays in memory.
func TestSuiteSmallCache(t *testing.T) {
	t.Parallel()
	recordtest.Run(t, func(t *testing.T) record.Engine { return start(t, Options{CacheSize: 1}) })
}

func TestIdentity(t *testing.T) {
	j := start(t, Options{})
	source := j.Source()
	require.Len(t, source, 26)
	j.put(record.User, "a", record.Change{Value: []byte("1")})
	require.Equal(t, source, j.get(record.User, "a")[0].Source)
	j = j.reopen()
	require.Equal(t, source, j.Source(), "the identity stays with the database")
	require.EqualValues(t, 1, j.Head())
	require.NotEqual(t, source, start(t, Options{}).Source())
}

// TestClockBehind: times go on after a restart with a clock that was set back.
func TestClockBehind(t *testing.T) {
	wall := newWallClock()
	j := start(t, Options{Clock: record.NewClock(wall.time)})
	before := j.put(record.User, "a", record.Change{}).Time
	wall.advance(-24 * time.Hour)
	j.opts.Clock = record.NewClock(wall.time)
	j = j.reopen()
	require.Greater(t, j.put(record.User, "b", record.Change{}).Time, before)
}

func TestFormat(t *testing.T) {
	dir := t.TempDir()
	start(t, Options{Dir: dir}).stop()
	write := func(f any) {
		db, err := badger.Open(badgerOptions(dir, zap.NewNop(), false))
		require.NoError(t, err)
		b, err := json.Marshal(f)
		require.NoError(t, err)
		require.NoError(t, db.Update(func(txn *badger.Txn) error { return txn.Set(formatKey, b) }))
		require.NoError(t, db.Close())
	}
	write(format{Version: formatVersion + 1, Source: "x"})
	for range 2 {
		_, err := Open(Options{Dir: dir})
		require.ErrorIs(t, err, ErrFormat, "and the lock is given back")
		require.ErrorContains(t, err, "format 3")
	}
	write(map[string]int{"version": 0})
	_, err := Open(Options{Dir: dir})
	require.ErrorContains(t, err, "malformed")
	write(format{Version: 1, Source: "x"}) // an older one is a part of this
	j := start(t, Options{Dir: dir})
	require.Equal(t, "x", j.Source())
	err = j.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(formatKey)
		if err != nil {
			return err
		}
		return item.Value(func(b []byte) error {
			require.JSONEq(t, `{"version":2,"source":"x"}`, string(b), "no older program may write it from now on")
			return nil
		})
	})
	require.NoError(t, err)
	s, err := decodeState([]byte{5, 4, 3, 2})
	require.NoError(t, err)
	require.Equal(t, state{head: 5, claim: 4, dropped: 3, last: 2}, s)
}

func TestLocked(t *testing.T) {
	j := start(t, Options{})
	_, err := Open(Options{Dir: j.opts.Dir})
	require.ErrorIs(t, err, ErrLocked)

	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), roleVariable+"=open", "DIR="+j.opts.Dir)
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), ErrLocked.Error(), "another process")
	j.stop()
	cmd = exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), roleVariable+"=open", "DIR="+j.opts.Dir)
	out, err = cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

func init() {
	roles["open"] = func() error {
		j, err := Open(Options{Dir: os.Getenv("DIR")})
		if err != nil {
			return err
		}
		return j.Close()
	}
}

func TestOpenFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := Open(Options{Dir: file})
	require.Error(t, err)
}

// TestEnd: what waits when the journal ends is answered, and so is what comes later.
func TestEnd(t *testing.T) {
	j, err := Open(Options{Dir: t.TempDir()})
	require.NoError(t, err)
	ctx := context.Background()
	short, cancel := context.WithCancel(ctx)
	cancel()

	answers := make(chan error)
	for range 5 {
		go func() {
			_, err := j.Update(ctx, record.User, "a", record.Condition{}, record.Change{})
			answers <- err
		}()
	}
	require.Eventually(t, func() bool { return len(j.live) == 5 }, time.Minute, time.Millisecond)
	require.NoError(t, j.Run(short), "its context had ended")
	for range 5 {
		require.ErrorIs(t, <-answers, record.ErrUnavailable)
	}
	require.Error(t, j.Run(ctx), "it runs once")
	_, err = j.Update(ctx, record.User, "a", record.Condition{}, record.Change{})
	require.ErrorIs(t, err, record.ErrUnavailable)
	versions, err := j.Get(ctx, record.User, "a")
	require.NoError(t, err, "reading goes on until Close")
	require.Empty(t, versions, "nothing was made")

	require.NoError(t, j.Close())
	require.NoError(t, j.Close(), "again")
	_, err = j.Get(ctx, record.User, "a")
	require.ErrorIs(t, err, record.ErrUnavailable)
	for _, err := range j.List(ctx, record.User, record.ByKey, "", "") {
		require.ErrorIs(t, err, record.ErrUnavailable)
	}
	for _, err := range j.Walk(ctx, nil) {
		require.ErrorIs(t, err, record.ErrUnavailable)
	}
}

// TestCloseEndsRun: Close stops a committer that nobody stopped, and one that
// was never started.
func TestCloseEndsRun(t *testing.T) {
	j, err := Open(Options{Dir: t.TempDir()})
	require.NoError(t, err)
	done := make(chan error)
	go func() { done <- j.Run(context.Background()) }()
	_, err = j.Update(t.Context(), record.User, "a", record.Condition{}, record.Change{})
	require.NoError(t, err)
	require.NoError(t, j.Close())
	require.NoError(t, <-done)

	j, err = Open(Options{Dir: t.TempDir()})
	require.NoError(t, err)
	require.NoError(t, j.Close())
	require.Error(t, j.Run(t.Context()))
	_, err = j.Update(t.Context(), record.User, "a", record.Condition{}, record.Change{})
	require.ErrorIs(t, err, record.ErrUnavailable)
}

// TestLeave: an update whose context ends while it waits is not made.
func TestLeave(t *testing.T) {
	j, err := Open(Options{Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, j.Close()) })
	ctx, cancel := context.WithCancel(context.Background())
	left := make(chan error)
	go func() {
		_, err := j.Update(ctx, record.User, "left", record.Condition{}, record.Change{})
		left <- err
	}()
	require.Eventually(t, func() bool { return len(j.live) == 1 }, time.Minute, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-left, context.Canceled)

	done := make(chan error)
	go func() { done <- j.Run(context.Background()) }()
	_, err = j.Update(t.Context(), record.User, "stayed", record.Condition{}, record.Change{})
	require.NoError(t, err)
	versions, err := j.Get(t.Context(), record.User, "left")
	require.NoError(t, err)
	require.Empty(t, versions)
	require.EqualValues(t, 1, j.Head())
	require.NoError(t, j.Close())
	require.NoError(t, <-done)
}

// TestGroup: what waits is committed together, in order, judged one by one.
func TestGroup(t *testing.T) {
	j, err := Open(Options{Dir: t.TempDir()})
	require.NoError(t, err)
	const n = 300
	errs := make(chan error, n)
	for range n {
		go func() {
			_, err := j.Update(context.Background(), record.User, "one", record.IfAbsent(), record.Change{Value: []byte("1")})
			errs <- err
		}()
	}
	require.Eventually(t, func() bool { return len(j.live) == n }, time.Minute, time.Millisecond)
	done := make(chan error)
	go func() { done <- j.Run(context.Background()) }()
	won := 0
	for range n {
		if err := <-errs; err == nil {
			won++
		} else {
			require.ErrorIs(t, err, record.ErrConflict)
		}
	}
	require.Equal(t, 1, won)
	stats := j.Stats()
	require.EqualValues(t, 1, stats.Commits)
	require.EqualValues(t, 1, stats.Updates)
	require.EqualValues(t, n-1, stats.Conflicts)
	require.EqualValues(t, 1, stats.Records[record.User])
	require.NoError(t, j.Close())
	require.NoError(t, <-done)
}

// TestLargeUpdates: the largest updates fit, many at once.
func TestLargeUpdates(t *testing.T) {
	j := start(t, Options{})
	key := func(i int) string { return string(make255('a' + byte(i))) }
	changes := make([]record.Change, record.MaxChanges)
	for i := range changes {
		changes[i] = record.Change{Member: string(append(make255('m')[:253], byte('0'+i/10), byte('0'+i%10))), Value: make([]byte, 4500)}
	}
	errs := make(chan error)
	const n = 8
	for i := range n {
		go func() {
			_, err := j.Update(context.Background(), record.Inventory, key(i), record.Condition{}, changes...)
			errs <- err
		}()
	}
	for range n {
		require.NoError(t, <-errs)
	}
	for i := range n {
		require.Len(t, j.get(record.Inventory, key(i)), record.MaxChanges)
	}
	for i := range changes {
		changes[i].Value, changes[i].Delete = nil, true
	}
	_, err := j.Update(t.Context(), record.Inventory, key(0), record.Condition{}, changes...)
	require.NoError(t, err)
	require.Len(t, j.walk(), n*record.MaxChanges)
	require.EqualValues(t, (n-1)*record.MaxChanges, j.Stats().Records[record.Inventory])
}

func make255(c byte) []byte {
	b := make([]byte, 255)
	for i := range b {
		b[i] = c
	}
	return b
}

// TestFailedCommit: after a commit that failed nothing is written until a
// restart, and what was answered before is there.
func TestFailedCommit(t *testing.T) {
	core, logs := observer.New(zap.ErrorLevel)
	dir := t.TempDir()
	j, err := Open(Options{Dir: dir, Logger: zap.New(core)})
	require.NoError(t, err)
	var broken atomic.Bool
	j.sync = func(txn *badger.Txn) error {
		if broken.Load() {
			return errors.New("input/output error")
		}
		return txn.Commit()
	}
	done := make(chan error)
	go func() { done <- j.Run(context.Background()) }()
	update := func(key string) error {
		_, err := j.Update(t.Context(), record.User, key, record.Condition{}, record.Change{})
		return err
	}
	require.NoError(t, update("before"))
	broken.Store(true)
	require.ErrorIs(t, update("after"), record.ErrUnavailable)
	broken.Store(false)
	require.ErrorIs(t, update("after"), record.ErrUnavailable, "a sync that failed is not tried again")
	require.Contains(t, j.Stats().Failure, "input/output error")
	require.EqualValues(t, 1, j.Head())
	require.EqualValues(t, 2, j.Stats().Refused)
	require.Equal(t, 1, logs.FilterMessageSnippet("the database failed").Len())
	require.NoError(t, j.Close())
	require.NoError(t, <-done)
	again := start(t, Options{Dir: dir})
	require.Len(t, again.walk(), 1)
	again.put(record.User, "after", record.Change{})
}

func TestBadgerLog(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	l := badgerLog{zap.New(core)}
	l.Debugf("a %d\n", 1)
	l.Infof("b %d\n", 2)
	l.Warningf("c %d\n", 3)
	l.Errorf("d %d\n", 4)
	require.Equal(t, 2, logs.Len())
	require.Equal(t, "badger: c 3", logs.All()[0].Message)
	require.Equal(t, zap.ErrorLevel, logs.All()[1].Level)
}
