package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
)

// TestConfirm: a write counts as kept elsewhere when another node has said so,
// and nobody waits for more than there is to wait for.
func TestConfirm(t *testing.T) {
	a, b := start(t, Options{}), start(t, Options{})
	ack := a.put(record.Purchase, "t", record.Change{Value: []byte("1")})
	require.Equal(t, 1, a.Confirm(t.Context(), ack).Copies, "nobody is there")

	a.Acknowledge("b", map[string]uint64{a.Source(): 0, "unheard": 9})
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.Equal(t, 1, a.Confirm(short, ack).Copies, "not yet")
	a.Acknowledge("b", map[string]uint64{a.Source(): 99})
	short, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.Equal(t, 1, a.Confirm(short, ack).Copies, "what never was can't be kept")

	claims := make(chan uint64)
	l := follow(b.Journal, a.Journal, a.Source(), func(claim uint64) { claims <- claim })
	defer l.cut()
	confirmed := make(chan record.Ack, 1)
	go func() { confirmed <- a.Confirm(context.Background(), ack) }()
	claim := <-claims
	require.Equal(t, ack.Revision, b.state(a.Source()).claim, "it is told when it is kept")
	a.Acknowledge("b", map[string]uint64{a.Source(): claim})
	require.Equal(t, record.Ack{Time: ack.Time, Revision: ack.Revision, Copies: 2}, <-confirmed)
	a.Acknowledge("c", map[string]uint64{a.Source(): claim})
	require.Equal(t, 3, a.Confirm(t.Context(), ack).Copies)
	require.Equal(t, map[string]uint64{"b": 0, "c": 0}, a.Stats().Followers)

	next, err := a.Update(t.Context(), record.Purchase, "u", record.Condition{}, record.Change{Value: []byte("1")})
	require.NoError(t, err)
	require.Equal(t, map[string]uint64{"b": 1, "c": 1}, a.Stats().Followers)
	go func() { confirmed <- a.Confirm(context.Background(), next) }()
	<-claims
	a.Acknowledge("b", map[string]uint64{a.Source(): next.Revision})
	require.Equal(t, 2, (<-confirmed).Copies)
	go func() { confirmed <- a.Spread(context.Background(), next) }()
	short, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.Equal(t, 2, a.Spread(short, next).Copies, "not everybody has it yet")
	a.Acknowledge("c", map[string]uint64{a.Source(): next.Revision})
	require.Equal(t, 3, (<-confirmed).Copies, "everybody has it")

	last, err := a.Update(t.Context(), record.Purchase, "v", record.Condition{}, record.Change{Value: []byte("1")})
	require.NoError(t, err)
	go func() { confirmed <- a.Confirm(context.Background(), last) }()
	<-claims
	a.Forget("b")
	a.Forget("c")
	require.Equal(t, 1, (<-confirmed).Copies, "nobody is left")
	require.Equal(t, 1, a.Spread(t.Context(), last).Copies)
}

// TestLaggard: who reads too slowly for the ring goes back to the index, and
// misses nothing.
func TestLaggard(t *testing.T) {
	a, b := start(t, Options{}), start(t, Options{})
	a.put(record.User, "u", record.Change{Value: []byte("1")})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	begins, marked := 0, make(chan struct{}, 1)
	hold := make(chan struct{})
	go func() {
		err := a.Stream(ctx, a.Source(), 0, writerFunc(func(p []byte) (int, error) {
			if len(p) > 4 && p[4] == beginFrame {
				begins++
			}
			return w.Write(p)
		}), func() error {
			select {
			case marked <- struct{}{}:
			default:
			}
			<-hold
			return nil
		})
		_ = w.CloseWithError(err)
	}()
	followed := make(chan error, 1)
	go func() { followed <- b.Follow(ctx, a.Source(), "a", r, nil) }()
	<-marked
	value := bytes.Repeat([]byte("1"), 60<<10)
	for i := range 2 * feedBytes / len(value) {
		a.put(record.User, fmt.Sprint("u", i), record.Change{Value: value})
	}
	a.committed.mu.Lock()
	f := a.committed.feeds[a.Source()]
	require.LessOrEqual(t, f.bytes, feedBytes)
	require.NotZero(t, f.first)
	a.committed.mu.Unlock()
	close(hold)
	b.reaches(a.Source(), a.Head())
	same(t, a, b)
	cancel()
	require.ErrorIs(t, <-followed, context.Canceled)
	require.GreaterOrEqual(t, begins, 2)
	require.Eventually(t, func() bool {
		a.committed.mu.Lock()
		defer a.committed.mu.Unlock()
		return len(a.committed.feeds) == 0
	}, 10*time.Second, time.Millisecond, "nothing is encoded for nobody")
	require.Zero(t, b.Stats().Follows)
}

// TestIdle: a stream with nothing to say says so every ten seconds, and a
// server that says nothing for twenty is left.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := start(t, Options{}), start(t, Options{})
		a.put(record.User, "u", record.Change{Value: []byte("1")})
		l := follow(b.Journal, a.Journal, a.Source(), nil)
		time.Sleep(95 * time.Second)
		synctest.Wait()
		at, known := b.Complete(a.Source())
		require.True(t, known)
		require.WithinDuration(t, time.Now(), at, markEvery, "the mark's time goes on")
		l.cut()
		require.ErrorIs(t, l.err, context.Canceled)

		for name, before := range map[string][]byte{"accepts": nil, "begins": wire(t, a, a.Source(), 0), "half a frame": wire(t, a, a.Source(), 0)[:40]} {
			r, w := io.Pipe()
			go func() { _, _ = w.Write(before) }()
			begun := time.Now()
			err := b.Follow(t.Context(), a.Source(), "silent", r, nil)
			require.ErrorIs(t, err, ErrSilent, name)
			require.Equal(t, silence, time.Since(begun), name)
			_, err = w.Write([]byte("x"))
			require.ErrorIs(t, err, io.ErrClosedPipe, name)
		}
		a.stop()
		b.stop()
		time.Sleep(time.Minute) // for what Badger ends without waiting
	})
}

// TestImport: what was asked for elsewhere is kept as it was, and neither
// brings back what is gone nor speaks for this journal.
func TestImport(t *testing.T) {
	a, b := start(t, Options{}), start(t, Options{})
	for i := range 10 {
		a.put(record.User, fmt.Sprint("u", i), record.Change{Value: []byte("1")})
	}
	asked := a.get(record.User, "u7")
	require.NoError(t, b.Import(t.Context(), asked))
	require.Equal(t, asked, b.get(record.User, "u7"))
	require.Equal(t, []SourceState{{Source: a.Source(), Head: 8}}, sortedCatalogue(b, a.Source())[:1])
	b.follow(a, a.Source())
	b.reaches(a.Source(), 10)
	same(t, a, b)

	invented := asked[0]
	invented.Key, invented.Revision = "never", 4
	require.NoError(t, b.Import(t.Context(), []record.Record{invented}))
	require.Empty(t, b.get(record.User, "never"), "the claim says that it is not alive")
	require.NoError(t, a.Import(t.Context(), []record.Record{invented}))
	require.Empty(t, a.get(record.User, "never"), "nor do others know better what this journal wrote")
	invented.Revision = 11
	require.ErrorIs(t, a.Import(t.Context(), []record.Record{invented}), record.ErrInvalid)
	require.NoError(t, b.Import(t.Context(), nil))
	invented.Topic = "unheard"
	require.ErrorIs(t, b.Import(t.Context(), []record.Record{invented}), record.ErrInvalid)

	many := make([]record.Record, 0, 2500)
	for i := range 2500 {
		many = append(many, record.Record{Topic: record.User, Key: fmt.Sprint("m", i), Source: "export", Time: 1, Revision: uint64(i + 1), Value: []byte("1")})
	}
	require.NoError(t, b.Import(t.Context(), many))
	require.Equal(t, many, bySource(b.walk())["export"])
}

// TestDigests: they say the same as counting anew, however the records came,
// and a database that lacks them gets them when it is opened.
func TestDigests(t *testing.T) {
	wall := newWallClock()
	j := start(t, Options{Clock: record.NewClock(wall.time)})
	require.Equal(t, sum{}.String(), j.Digests()[record.User])
	for i := range 300 {
		j.put(record.User, fmt.Sprint("u", i%70), record.Change{Value: []byte(fmt.Sprint(i)), Delete: false})
		j.put(record.Session, fmt.Sprint("s", i), record.Change{Expires: wall.time().Add(time.Duration(i) * time.Minute).UnixMilli()})
		if i%3 == 0 {
			j.put(record.Inventory, fmt.Sprint("h", i%50), record.Change{Member: "s", Delete: i%2 == 0})
		}
	}
	wall.advance(4 * time.Hour)
	require.NotZero(t, j.sweep())
	counted := func() totals {
		want := newTotals()
		require.NoError(t, j.db.View(func(txn *badger.Txn) error { return addAll(txn, want) }))
		return want
	}
	want := counted()
	require.Equal(t, want.Digests, j.committed.totals.Digests)
	require.Equal(t, want.Counts[record.User], j.counts()[record.User])
	digests := j.Digests()
	j = j.reopen()
	require.Equal(t, digests, j.Digests())

	old, err := json.Marshal(j.counts())
	require.NoError(t, err)
	require.NoError(t, j.db.Update(func(txn *badger.Txn) error {
		if err := txn.Set(formatKey, []byte(`{"version":1,"source":"`+j.Source()+`"}`)); err != nil {
			return err
		}
		return txn.Set(countKey, old)
	}))
	j = j.reopen()
	require.Equal(t, digests, j.Digests(), "a database of the first days")
	require.Equal(t, want.Counts[record.Session], j.counts()[record.Session])
	j.put(record.User, "u1", record.Change{Value: []byte("x")})
	j = j.reopen()
	require.NotEqual(t, digests, j.Digests())
	require.Equal(t, counted().Digests, j.committed.totals.Digests)
}

// TestLateTombstones: one that comes late stays as long as a new one, because
// what it hides may come later still.
func TestLateTombstones(t *testing.T) {
	wall := newWallClock()
	options := func() Options { return Options{Clock: record.NewClock(wall.time)} }
	a, b, c := start(t, options()), start(t, options()), start(t, options())
	b.put(record.Inventory, "h", record.Change{Member: "s", Value: []byte("moved away")})
	a.follow(b, b.Source())
	a.reaches(b.Source(), 1)
	a.put(record.Inventory, "h", record.Change{Member: "s", Delete: true})
	wall.advance(2 * record.KeepTombstone)
	require.Zero(t, a.sweep(), "it hides what the other wrote")
	c.follow(a, a.Source())
	c.reaches(a.Source(), 1)
	require.Zero(t, c.sweep())
	c.follow(b, b.Source())
	c.reaches(b.Source(), 1)
	require.Len(t, c.get(record.Inventory, "h"), 2)
	wall.advance(2 * record.KeepTombstone)
	require.Zero(t, c.sweep())
	require.Len(t, c.get(record.Inventory, "h"), 2)
}

// TestNoResume: where tombstones went that the reader had not come to, the
// server can't go on where it was left.
func TestNoResume(t *testing.T) {
	wall := newWallClock()
	a := start(t, Options{Clock: record.NewClock(wall.time)})
	b := start(t, Options{Clock: record.NewClock(wall.time)})
	a.putMany(record.Inventory, 2500, func(i int) (string, record.Change) {
		return fmt.Sprint("h", i), record.Change{Member: "s", Value: []byte("1"), Delete: false}
	})
	a.put(record.Inventory, "h2499", record.Change{Member: "s", Delete: true})
	stream := wire(t, a, a.Source(), 0)
	require.Error(t, b.Follow(t.Context(), a.Source(), "a", bytes.NewReader(stream[:len(stream)*3/4]), nil))
	since := b.Since(a.Source(), "a")
	require.NotZero(t, since)
	wall.advance(record.KeepTombstone + time.Minute)
	require.Equal(t, 1, a.sweep())
	// It starts over by itself where it was left before what was dropped.
	require.ErrorContains(t, b.Follow(t.Context(), a.Source(), "a", bytes.NewReader(wire(t, a, a.Source(), since)), nil), "EOF")
	require.Equal(t, a.Digests(), b.Digests())

	c := start(t, Options{})
	require.Error(t, c.Follow(t.Context(), a.Source(), "a", bytes.NewReader(newSample(begin{source: a.Source(), claim: 9}).records(
		record.Record{Topic: record.User, Key: "u", Source: a.Source(), Time: 1, Revision: 7}).b), nil))
	require.EqualValues(t, 7, c.Since(a.Source(), "a"))
	beyond := newSample(begin{source: a.Source(), since: 7, claim: 9, dropped: 5}).mark(9, 5).b
	require.ErrorIs(t, c.Follow(t.Context(), a.Source(), "a", bytes.NewReader(beyond), nil), ErrResume)
	require.Zero(t, c.Since(a.Source(), "a"))
	require.Zero(t, c.Claims()[a.Source()])
}
