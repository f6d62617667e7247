package clones

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/heartbeat"
)

func TestDoubt(t *testing.T) {
	for _, c := range []struct {
		name     string
		events   []event
		examines []int // after which events an examination begins
		want     doubt
	}{
		{"never overtaken", []event{gave, gave}, nil, doubt{}},
		{"overtaken now and then", []event{lost, lost, gave, lost, lost, gave}, nil, doubt{}},
		{"overtaken in a row", []event{lost, lost, lost}, []int{2}, doubt{3, true}},
		{"one examination at a time", []event{lost, lost, lost, lost, lost, gave, lost, lost, lost}, []int{2}, doubt{3, true}},
		{"slow, and examined now and then", []event{lost, lost, lost, passed, lost, lost, lost, lost, passed}, []int{2, 6}, doubt{}},
		{"hangs", []event{lost, lost, lost, failed, lost, failed, lost}, []int{2, 4, 6}, doubt{3, true}},
		{"hung, and is back", []event{lost, lost, lost, failed, gave, lost, lost}, []int{2}, doubt{2, false}},
		{"long ago, for long", append(slices.Repeat([]event{lost}, 1000), passed), []int{2}, doubt{}},
	} {
		var d doubt
		var examines []int
		for i, e := range c.events {
			var examine bool
			if d, examine = d.after(e); examine {
				examines = append(examines, i)
			}
		}
		require.Equal(t, c.examines, examines, c.name)
		require.Equal(t, c.want, d, c.name)
	}
}

// A store that hangs, and is overtaken each time, is found to have failed in the
// end; no viewer waits for that.
func TestOvertakenStoreThatHangs(t *testing.T) {
	e := newEdge(t, 100_000, stalling(time.Hour))
	site := e.reaches(t)[0]
	view := func() {
		res, err := site.client.Get(site.base + e.path())
		require.NoError(t, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, res.StatusCode)
		require.True(t, bytes.Equal(e.data, body))
	}
	view()
	id := e.last.Load().(string)
	one := e.away[0]
	if one.all[0].ID() != id {
		one = e.away[1]
	}
	one.set("frozen")
	for range overtakes {
		view()
		require.True(t, e.registry.Available(id))
		e.source.Overtaken(id, e.hash)
	}
	one.set("killed") // which ends the examination as its time would
	require.Eventually(t, func() bool { return !e.registry.Available(id) }, time.Minute, time.Millisecond)
	view()
	e.heal()
	require.Eventually(t, func() bool { return e.registry.Available(id) }, time.Minute, 10*time.Millisecond)
	view()
}

// A store that is slow, and gives its byte in the end, is asked last while that
// is not known, and is as good as ever then.
func TestOvertakenStoreThatIsSlow(t *testing.T) {
	e := newEdge(t, 100_000, stalling(time.Hour))
	one := e.away[0]
	id := one.all[0].ID()
	last := func() bool {
		c, ok := e.source.Candidate(id, false)
		require.True(t, ok, "it is available all the time")
		return c.Last
	}
	for range 3 {
		one.set("frozen")
		for range overtakes {
			require.False(t, last())
			e.source.Overtaken(id, e.hash)
		}
		require.True(t, last())
		one.set("")
		require.Eventually(t, func() bool { return !last() }, time.Minute, time.Millisecond)
	}
	e.source.Overtaken(id, e.hash)
	e.source.Overtaken(id, e.hash)
	e.source.Answered(id)
	e.source.Overtaken(id, e.hash)
	require.False(t, last(), "not in a row")

	// Who closes waits for nobody, and blames nobody.
	one.set("frozen")
	e.source.Overtaken(id, e.hash)
	e.source.Overtaken(id, e.hash)
	require.True(t, last())
	require.NoError(t, e.source.client.Close(t.Context()))
	require.True(t, e.registry.Available(id))
	e.source.Overtaken(id, e.hash)
	require.False(t, last())
}

// A store that has failed a request is asked after all others, and not at all
// where more than that speaks against it.
func TestAStoreThatFailedIsAskedLast(t *testing.T) {
	e := newEdge(t, 1000, stalling(time.Hour))
	id := e.away[0].all[0].ID()
	c, ok := e.source.Candidate(id, false)
	require.True(t, ok)
	require.False(t, c.Last)
	e.registry.Failed(id)
	c, ok = e.source.Candidate(id, false)
	require.True(t, ok)
	require.True(t, c.Last)
	p, ok := e.registry.Lookup(id)
	require.True(t, ok)
	e.registry.SetHealth(&heartbeat.Health{Stores: map[heartbeat.Carried]heartbeat.StoreHealth{{Node: p.NodeID, Store: id}: {ID: id}}})
	_, ok = e.source.Candidate(id, false)
	require.False(t, ok, "its disk can't be read")
	_, ok = e.source.Candidate(id, true)
	require.True(t, ok, "a response that has begun tries it anyway")
}
