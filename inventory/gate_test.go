package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/record"
)

func TestThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(2)
		bad := errors.New("bad")
		value, err := through(t.Context(), g, time.Second, func() (int, error) { return 7, bad }, nil)
		require.Equal(t, 7, value)
		require.ErrorIs(t, err, bad, "the operation's own error")

		// Two hang: their callers get an answer, and nobody else gets a place.
		hang, late := make(chan struct{}), make(chan int, 2)
		for range 2 {
			began := time.Now()
			_, err = through(t.Context(), g, time.Second, func() (int, error) { <-hang; return 1, nil }, func(v int, _ error) { late <- v })
			require.ErrorIs(t, err, errNoAnswer)
			require.Equal(t, time.Second, time.Since(began))
		}
		_, err = through(t.Context(), g, time.Second, func() (int, error) { panic("it never begins") }, nil)
		require.ErrorIs(t, err, errBusy)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err = through(ctx, g, time.Second, func() (int, error) { panic("it never begins") }, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Empty(t, late)

		close(hang)
		require.Equal(t, 2, <-late+<-late, "what came late is cleaned up")
		require.NoError(t, do(t.Context(), g, time.Second, func() error { return nil }, nil), "the places are free again")
		require.Zero(t, g.drain(time.Second))
		require.ErrorIs(t, do(t.Context(), g, time.Second, func() error { return nil }, nil), errBusy, "none begins after that")
	})
}

func TestThroughEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1)
		ctx, cancel := context.WithCancel(t.Context())
		hang := make(chan struct{})
		time.AfterFunc(time.Millisecond, cancel)
		err := do(ctx, g, time.Second, func() error { <-hang; return nil }, nil)
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, 1, g.drain(time.Second), "it is still with the disk")
		for range 50 {
			require.Zero(t, newGate(3).drain(0), "what is free is not counted as stuck, however late it is")
		}
		close(hang)
	})
}

func TestBacklogForgetsWhichAndRemembersThat(t *testing.T) {
	b := newBacklog()
	for i := range maxBacklog + 10 {
		b.add(hashOf(t, content.MD5, []byte{byte(i), byte(i >> 8)}))
	}
	waiting, all := b.take()
	require.Len(t, waiting, maxBacklog)
	require.True(t, all)
	waiting, all = b.take()
	require.Empty(t, waiting)
	require.False(t, all)
	b.addRecords([]record.Record{{Key: "nonsense"}, {Key: "d41d8cd98f00b204e9800998ecf8427e"}})
	waiting, _ = b.take()
	require.Len(t, waiting, 1)
}

func FuzzDecodeClone(f *testing.F) {
	const key = "d41d8cd98f00b204e9800998ecf8427e"
	f.Add(key, []byte(`{"ext":"mp4","size":1,"mtime":2,"stored":3,"verified":4,"kept":"5","deep":true}`))
	f.Add(key, []byte(`{"ext":"../../x"}`))
	f.Add("../"+key, []byte(`{"ext":"mp4","kept":"-1"}`))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		c, err := decodeClone(record.Record{Key: key, Member: "s1", Value: value})
		if err != nil {
			return
		}
		require.Regexp(t, `^[a-z0-9]{1,16}$`, c.Ext)
		require.False(t, c.Hash.IsZero())
		b, err := json.Marshal(c)
		require.NoError(t, err)
		again, err := decodeCloneOf(c.Hash, record.Record{Member: "s1", Value: b})
		require.NoError(t, err)
		require.Equal(t, c, again)
	})
}
