package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, folder string) *Log {
	t.Helper()
	l := New(folder, "edge1", zap.NewNop())
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

func read(t *testing.T, l *Log, after time.Time) (all []Entry) {
	t.Helper()
	for e, err := range l.Read(after) {
		require.NoError(t, err)
		all = append(all, e)
	}
	return all
}

func users(entries []Entry) (names []string) {
	for _, e := range entries {
		names = append(names, e.User)
	}
	return names
}

func TestEntries(t *testing.T) {
	folder := t.TempDir()
	l := open(t, folder)
	require.Empty(t, read(t, l, time.Time{}), "nothing is there before the first entry")
	require.NoFileExists(t, filepath.Join(folder, FileName))
	require.NoError(t, l.Add(Entry{
		Action: ContentBlock, Actor: Actor{Via: Session, Who: "alice", From: "192.0.2.1"}, Hash: "ab", Reason: "court\n",
	}))
	require.NoError(t, l.Add(Entry{Action: UserAdd, Actor: Actor{Via: Admin, System: "root"}, User: "bob"}))
	text, err := os.ReadFile(filepath.Join(folder, FileName))
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	require.Len(t, lines, 2)
	var first map[string]any
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &first))
	at, err := time.Parse(time.RFC3339Nano, first["time"].(string))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), at, time.Minute)
	delete(first, "time")
	require.Equal(t, map[string]any{
		"node": "edge1", "action": "content.block", "via": "session", "who": "alice", "from": "192.0.2.1", "hash": "ab", "reason": "court\n",
	}, first)
	info, err := os.Stat(filepath.Join(folder, FileName))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	all := read(t, l, time.Time{})
	require.Len(t, all, 2)
	require.True(t, all[1].Time.After(all[0].Time))
	require.Equal(t, all[1:], read(t, l, all[0].Time))
	require.Equal(t, "session:alice", all[0].Actor.String())
	require.Equal(t, "admin:root", all[1].Actor.String())
	require.Equal(t, "admin", Actor{Via: Admin}.String())
}

// TestTimesOnlyGrow also over a restart with a clock that was put back.
func TestTimesOnlyGrow(t *testing.T) {
	folder := t.TempDir()
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	var last time.Time
	for range 3 {
		l := New(folder, "edge1", zap.NewNop())
		l.now = func() time.Time { return now }
		for range 3 {
			require.NoError(t, l.Add(Entry{Action: UserAdd}))
		}
		all := read(t, l, last)
		require.Len(t, all, 3)
		last = all[2].Time
		require.NoError(t, l.Close())
		now = now.Add(-time.Hour)
	}
}

func TestManyAtOnce(t *testing.T) {
	l := open(t, t.TempDir())
	l.fileLen = 2000
	syncs := 0
	write := l.write
	l.write = func(f *os.File, b []byte) error {
		syncs++ // one goroutine at a time has the file
		return write(f, b)
	}
	const writers, each = 8, 25
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range each {
				if err := l.Add(Entry{Action: PurchaseRemove, Token: "a20261120~3f9c1e"}); err != nil {
					t.Error(err)
				}
				for _, err := range l.Read(time.Time{}) {
					if err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	require.LessOrEqual(t, syncs, writers*each)
	l.mu.Lock()
	require.EqualValues(t, writers*each, l.done)
	l.mu.Unlock()
}

func TestRotation(t *testing.T) {
	folder := t.TempDir()
	l := open(t, folder)
	l.fileLen, l.files = 1000, 3
	for i := range 100 {
		require.NoError(t, l.Add(Entry{Action: UserAdd, User: fmt.Sprint(i)}))
	}
	names, err := filepath.Glob(filepath.Join(folder, "*"))
	require.NoError(t, err)
	require.LessOrEqual(t, len(names), 3)
	total := int64(0)
	for _, name := range names {
		info, err := os.Stat(name)
		require.NoError(t, err)
		total += info.Size()
	}
	require.LessOrEqual(t, total, int64(3*(1000+200)), "the log is bounded")
	all := users(read(t, l, time.Time{}))
	require.Equal(t, "99", all[len(all)-1])
	for i, name := range all {
		require.Equal(t, fmt.Sprint(100-len(all)+i), name, "in order, without a gap")
	}
}

// TestTornLine is what a crash leaves in the middle of a write.
func TestTornLine(t *testing.T) {
	folder := t.TempDir()
	l := open(t, folder)
	require.NoError(t, l.Add(Entry{Action: UserAdd, User: "a"}))
	require.NoError(t, l.Close())
	f, err := os.OpenFile(filepath.Join(folder, FileName), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(`{"time":"2026-11-20T12:00:00Z","action":"user.`)
	require.NoError(t, errors.Join(err, f.Close()))
	l = open(t, folder)
	require.NoError(t, l.Add(Entry{Action: UserAdd, User: "b"}))
	require.Equal(t, []string{"a", "b"}, users(read(t, l, time.Time{})))
}

// TestFullDisk: nothing is refused, nothing is silent, and nothing is missing
// once the disk has room.
func TestFullDisk(t *testing.T) {
	folder := t.TempDir()
	core, logs := observer.New(zapcore.DebugLevel)
	l := New(folder, "edge1", zap.New(core))
	require.NoError(t, l.Add(Entry{Action: UserAdd, User: "a"}))
	write := l.write
	l.write = func(f *os.File, b []byte) error {
		_, err := f.Write(b[:len(b)/2]) // half of it fits
		return errors.Join(err, syscall.ENOSPC)
	}
	for _, name := range []string{"b", "c"} {
		err := l.Add(Entry{Action: UserAdd, User: name})
		require.ErrorIs(t, err, ErrWaiting)
		require.ErrorIs(t, err, syscall.ENOSPC)
	}
	require.Equal(t, 2, logs.FilterLevelExact(zapcore.ErrorLevel).FilterMessageSnippet("this entry waits").Len())
	require.Contains(t, fmt.Sprint(logs.All()[1].ContextMap()["entry"]), `"user":"c"`, "the node's log has the whole entry")
	s := l.Status()
	require.Equal(t, 2, s.Waiting)
	require.Contains(t, s.Error, "no space left")
	require.NotZero(t, s.Since)
	require.Equal(t, []string{"a"}, users(read(t, l, time.Time{})))

	l.write = write
	l.retry()
	require.Equal(t, Status{}, l.Status())
	require.NoError(t, l.Add(Entry{Action: UserAdd, User: "d"}))
	require.Equal(t, []string{"a", "b", "c", "d"}, users(read(t, l, time.Time{})))
	text, err := os.ReadFile(filepath.Join(folder, FileName))
	require.NoError(t, err)
	require.Equal(t, 4, bytes.Count(text, []byte("\n")), "half a line was taken back: %s", text)
	require.NoError(t, l.Close())
	require.ErrorIs(t, l.Add(Entry{Action: UserAdd, User: "e"}), ErrWaiting)
}

func TestWaitingIsBounded(t *testing.T) {
	l := New(filepath.Join(t.TempDir(), "is not there"), "edge1", zap.NewNop())
	for range maxWaiting + 5 {
		require.ErrorIs(t, l.Add(Entry{Action: UserAdd}), ErrWaiting)
	}
	s := l.Status()
	require.Equal(t, maxWaiting, s.Waiting)
	require.EqualValues(t, 5, s.Lost)
	require.NoError(t, l.Close())
}
