package journal

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
)

// TestFollow: what is there comes, then what is written, each change on its
// own, and all that hold it say the same.
func TestFollow(t *testing.T) {
	a, b := start(t, Options{}), start(t, Options{})
	a.putMany(record.User, 2500, func(i int) (string, record.Change) {
		return fmt.Sprint("u", i), record.Change{Value: []byte(fmt.Sprint(i))}
	})
	a.put(record.User, "u7", record.Change{Delete: true})
	a.put(record.Inventory, "h", record.Change{Member: "s1", Value: []byte("1")})
	var told seen
	defer b.Watch(record.User, told.add)()
	_, known := b.Complete(a.Source())
	require.False(t, known)
	l := b.follow(a, a.Source())
	b.reaches(a.Source(), 2502)
	same(t, a, b)
	require.Len(t, told.take(), 2500)
	at, known := b.Complete(a.Source())
	require.True(t, known)
	require.WithinDuration(t, time.Now(), at, time.Minute)

	for i := range 20 {
		ack := a.put(record.User, fmt.Sprint("v", i%3), record.Change{Value: []byte(fmt.Sprint(i))})
		b.reaches(a.Source(), ack.Revision)
		require.Equal(t, a.get(record.User, fmt.Sprint("v", i%3)), b.get(record.User, fmt.Sprint("v", i%3)))
	}
	same(t, a, b)
	require.Len(t, told.take(), 20)
	l.cut()
	require.ErrorIs(t, l.err, context.Canceled)

	// The other way round, and over a restart of both.
	mine := b.put(record.User, "mine", record.Change{Value: []byte("1")})
	a, b = a.reopen(), b.reopen()
	a.follow(b, b.Source())
	a.reaches(b.Source(), mine.Revision)
	same(t, a, b)
	require.EqualValues(t, 2522, b.Since(a.Source(), "any"))
	require.Equal(t, []SourceState{
		{Source: a.Source(), Head: 2522, Claim: 2522, Own: true},
		{Source: b.Source(), Head: 1, Claim: 1},
	}, sortedCatalogue(a, a.Source()))
}

// TestKnownBeforeClaimed: who sees how far a node has come, and reads then, reads
// nothing older, be it from the cache or from what a watcher keeps.
func TestKnownBeforeClaimed(t *testing.T) {
	a, b := start(t, Options{}), start(t, Options{})
	for _, j := range []*running{a, b} {
		defer j.Watch(record.User, func(records []record.Record) {
			for _, r := range records {
				assert.Less(t, j.state(a.Source()).claim, r.Revision)
				assert.EqualValues(t, r.Revision, j.get(record.User, r.Key)[0].Revision)
			}
		})()
	}
	b.follow(a, a.Source())
	for range 3 {
		b.reaches(a.Source(), a.put(record.User, "u", record.Change{Value: []byte("1")}).Revision)
	}
}

func sortedCatalogue(r *running, first string) []SourceState {
	list := r.Catalogue()
	if len(list) == 2 && list[0].Source != first {
		list[0], list[1] = list[1], list[0]
	}
	return list
}

// TestRelay: a node that can't reach a source has it from one that follows it,
// with no more of a claim than that one has.
func TestRelay(t *testing.T) {
	a, b, c := start(t, Options{}), start(t, Options{}), start(t, Options{})
	for i := range 10 {
		a.put(record.User, fmt.Sprint("u", i), record.Change{Value: []byte("1")})
	}
	ab := b.follow(a, a.Source())
	b.reaches(a.Source(), 10)
	c.follow(b, a.Source())
	c.reaches(a.Source(), 10)
	same(t, a, c)
	at, known := c.Complete(a.Source())
	require.True(t, known)
	require.WithinDuration(t, time.Now(), at, time.Minute)
	ack := a.put(record.User, "u3", record.Change{Value: []byte("2")})
	c.reaches(a.Source(), ack.Revision)
	same(t, a, c)

	ab.cut()
	a.put(record.User, "missed", record.Change{Value: []byte("1")})
	later := a.put(record.User, "asked", record.Change{Value: []byte("1")})
	require.NoError(t, b.Import(t.Context(), a.get(record.User, "asked")))
	require.Eventually(t, func() bool { return c.state(a.Source()).head == later.Revision }, 10*time.Second, time.Millisecond,
		"what was asked for goes on too")
	require.Len(t, c.get(record.User, "asked"), 1)
	require.EqualValues(t, 13, later.Revision)
	require.EqualValues(t, 11, c.Claims()[a.Source()], "but says nothing of what is before it")
	b.follow(a, a.Source())
	c.reaches(a.Source(), later.Revision)
	same(t, a, c)
}

// TestResume: what was read before the mark spares the same server from
// telling it again, and says nothing to others.
func TestResume(t *testing.T) {
	a, b := start(t, Options{}), start(t, Options{})
	a.putMany(record.User, 2500, func(i int) (string, record.Change) {
		return fmt.Sprint("u", i), record.Change{Value: []byte("1")}
	})
	stream := wire(t, a, a.Source(), 0)
	err := b.Follow(t.Context(), a.Source(), "s1", bytes.NewReader(stream[:len(stream)*3/4]), nil)
	require.ErrorContains(t, err, "unexpected EOF")
	require.Zero(t, b.Claims()[a.Source()])
	require.Zero(t, b.Since(a.Source(), "s2"))
	since := b.Since(a.Source(), "s1")
	require.GreaterOrEqual(t, since, uint64(1000))
	require.Less(t, since, uint64(2500))

	rest := wire(t, a, a.Source(), since)
	require.Less(t, len(rest), len(stream)*2/3)
	require.ErrorIs(t, b.Follow(t.Context(), a.Source(), "s2", bytes.NewReader(rest), nil), ErrStream, "it did not ask so")
	require.Zero(t, b.Claims()[a.Source()])
	var claims []uint64
	err = b.Follow(t.Context(), a.Source(), "s1", bytes.NewReader(rest), func(c uint64) { claims = append(claims, c) })
	require.ErrorContains(t, err, "EOF")
	require.Equal(t, []uint64{2500}, claims)
	require.EqualValues(t, 2500, b.Since(a.Source(), "s2"))
	same(t, a, b)
}
