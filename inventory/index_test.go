package inventory

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

func newIndex(t *testing.T) (*Index, *recordtest.Memory, *record.Clock) {
	clock := record.NewClock(nil)
	e := recordtest.NewMemory(clock)
	x := NewIndex(e, clock, 10)
	t.Cleanup(x.Close)
	return x, e, clock
}

func store(t *testing.T, e record.Engine, c Clone) {
	t.Helper()
	value, err := json.Marshal(c)
	require.NoError(t, err)
	_, err = e.Update(t.Context(), record.Inventory, c.Hash.String(), record.Condition{}, record.Change{Member: c.Store, Value: value})
	require.NoError(t, err)
}

func TestIndexFinds(t *testing.T) {
	x, e, clock := newIndex(t)
	h := hashOf(t, content.SHA1, []byte("abc"))
	p, err := x.Find(t.Context(), h)
	require.NoError(t, err)
	require.Equal(t, &Placement{}, p)

	late := Clone{Hash: h, Store: "s1", Ext: "mp4", Size: 3, Mtime: 7, Stored: 20, Verified: 20, Kept: clock.Next()}
	early := Clone{Hash: h, Store: "s2", Ext: "m4v", Size: 3, Stored: 10, Kept: clock.Next(), Deep: true}
	store(t, e, late)
	store(t, e, early)
	p, err = x.Find(t.Context(), h)
	require.NoError(t, err)
	require.Equal(t, []Clone{early, late}, p.Clones, "the earliest first, and nothing stale")
	again, err := x.Find(t.Context(), h)
	require.NoError(t, err)
	require.Same(t, p, again)
	require.Equal(t, 1, x.Forget())

	_, err = e.Update(t.Context(), record.Inventory, h.String(), record.Condition{}, record.Change{Member: "s2", Delete: true})
	require.NoError(t, err)
	p, err = x.Find(t.Context(), h)
	require.NoError(t, err)
	require.Equal(t, []Clone{late}, p.Clones)
}

func TestIndexSkipsRecordsThatCannotStandInAPath(t *testing.T) {
	x, e, _ := newIndex(t)
	h := hashOf(t, content.SHA1, []byte("abc"))
	for member, value := range map[string]string{"s1": `{"ext":"../../etc/passwd","kept":"1"}`, "s2": `{"ext":"","kept":"1"}`, "s3": `nonsense`, "s4": `{"ext":"MP4","kept":"1"}`} {
		_, err := e.Update(t.Context(), record.Inventory, h.String(), record.Condition{}, record.Change{Member: member, Value: []byte(value)})
		require.NoError(t, err)
	}
	p, err := x.Find(t.Context(), h)
	require.NoError(t, err)
	require.Empty(t, p.Clones)
}

func TestIndexRemoves(t *testing.T) {
	x, e, clock := newIndex(t)
	h := hashOf(t, content.SHA1, []byte("abc"))
	ahead := Clone{Hash: h, Store: "s1", Ext: "mp4", Kept: clock.Next() + record.Time(1<<40)}
	store(t, e, ahead)
	at, err := x.Remove(t.Context(), h)
	require.NoError(t, err)
	require.Greater(t, at, ahead.Kept, "also where a kept time is ahead of the clock")
	p, err := x.Find(t.Context(), h)
	require.NoError(t, err)
	require.Empty(t, p.Clones)
	require.Equal(t, at, p.Removed)

	ahead.Kept = at + 1
	store(t, e, ahead)
	p, err = x.Find(t.Context(), h)
	require.NoError(t, err)
	require.Len(t, p.Clones, 1, "uploaded again after the removal")
}

func TestIndexBlocks(t *testing.T) {
	x, e, _ := newIndex(t)
	h := hashOf(t, content.SHA1, []byte("abc"))
	for value, want := range map[string]bool{`{}`: true, `{"blocked":true}`: true, `{"blocked":false}`: false, `x`: true} {
		_, err := e.Update(t.Context(), record.Block, h.String(), record.Condition{}, record.Change{Value: []byte(value)})
		require.NoError(t, err)
		p, err := x.Find(t.Context(), h)
		require.NoError(t, err)
		require.Equal(t, want, p.Blocked, value)
	}
}

func TestIndexListsAndCounts(t *testing.T) {
	x, e, _ := newIndex(t)
	var want []content.Hash
	for i := range byte(50) {
		h := hashOf(t, content.SHA1, []byte{i})
		store(t, e, Clone{Hash: h, Store: "s1", Ext: "mp4", Size: int64(i)})
		store(t, e, Clone{Hash: h, Store: "s2", Ext: "mp4", Size: 1})
		want = append(want, h)
	}
	got := map[content.Hash]bool{}
	last := content.Hash{}
	for c, err := range x.List(t.Context(), "s1", content.Hash{}) {
		require.NoError(t, err)
		require.Equal(t, "s1", c.Store)
		require.Less(t, last.String(), c.Hash.String())
		last = c.Hash
		got[c.Hash] = true
	}
	for _, h := range want {
		require.True(t, got[h])
	}
	for range x.List(t.Context(), "s1", last) {
		require.Fail(t, "nothing is behind the last")
	}
	totals, err := x.Count(t.Context(), "s1")
	require.NoError(t, err)
	require.Equal(t, Totals{Clones: 50, Bytes: 49 * 50 / 2}, totals)

	away := errors.New("away")
	e.Fail(away)
	_, err = x.Find(t.Context(), want[0])
	require.ErrorIs(t, err, away)
	_, err = x.Remove(t.Context(), want[0])
	require.ErrorIs(t, err, away)
	_, err = x.Count(t.Context(), "s1")
	require.ErrorIs(t, err, away)
	for _, err = range x.List(t.Context(), "s1", content.Hash{}) {
		require.ErrorIs(t, err, away)
	}
	e.Fail(nil)
	_, err = x.Find(t.Context(), want[0])
	require.NoError(t, err, "a failure is not remembered")
}
