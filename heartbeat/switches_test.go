package heartbeat_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

func TestSwitch(t *testing.T) {
	e := recordtest.NewMemory(nil)
	r := newRegistry(t, e)
	changes := 0
	id := elsewhere(t, r, func(p *heartbeat.Peer) { p.Room = true })
	r.OnChange(func() { changes++ })
	later := newRegistry(t, e)
	for i, c := range []struct {
		name                string
		change              func(*heartbeat.Switches)
		available, writable bool
		changes             int
		active, draining    bool
	}{
		{"nothing", func(*heartbeat.Switches) {}, true, true, 0, true, false},
		{"not to be written", func(s *heartbeat.Switches) { s.Writable = false }, true, false, 1, true, false},
		{"again", func(s *heartbeat.Switches) { s.Writable = false }, true, false, 1, true, false},
		{"draining", func(s *heartbeat.Switches) { s.Draining, s.Writable = true, true }, true, false, 2, true, true},
		{"out of service", func(s *heartbeat.Switches) { s.Active = false }, false, false, 3, false, true},
		{"as before", func(s *heartbeat.Switches) { *s = heartbeat.Switches{Active: true, Writable: true} }, true, true, 4, true, false},
	} {
		require.NoError(t, r.Switch(t.Context(), id, c.change), c.name)
		require.Equal(t, c.changes, changes, "step %d, %s: what says nothing new is not written", i, c.name)
		for _, r := range []*heartbeat.Registry{r, later, newRegistry(t, e)} {
			p, _ := r.Lookup(id)
			require.Equal(t, c.available, r.Available(id), c.name)
			require.Equal(t, c.writable, r.Writable(id), c.name)
			require.Equal(t, []bool{c.active, c.writable, c.draining}, []bool{p.Active, p.Writable, p.Draining}, c.name)
		}
	}
	require.ErrorIs(t, r.Switch(t.Context(), "nobody", func(*heartbeat.Switches) {}), heartbeat.ErrUnknownPeer)
	e.Fail(record.ErrUnavailable)
	require.ErrorIs(t, r.Switch(t.Context(), id, func(s *heartbeat.Switches) { s.Active = false }), record.ErrUnavailable)
}

// What was switched outlives that the peer registers anew, from whatever it
// knew then, and that it goes away and comes back.
func TestSwitchStays(t *testing.T) {
	r := newRegistry(t, recordtest.NewMemory(nil))
	id := elsewhere(t, r, nil)
	stale, _ := r.Lookup(id)
	require.NoError(t, r.Switch(t.Context(), id, func(s *heartbeat.Switches) { s.Draining = true }))
	stale.Free = 1
	require.NoError(t, r.Register(t.Context(), stale))
	p, _ := r.Lookup(id)
	require.True(t, p.Draining)
	require.NoError(t, r.Unregister(t.Context(), id))
	require.NoError(t, r.Register(t.Context(), stale))
	p, _ = r.Lookup(id)
	require.True(t, p.Draining)
	require.False(t, p.Writable)
}

// Of what several nodes switch the latest holds, in whatever order they hear of it.
func TestSwitchesMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := recordtest.NewMemory(nil)
		r := heartbeat.NewRegistry(e, nil)
		defer r.Close()
		require.NoError(t, r.Load(t.Context()))
		require.NoError(t, r.Register(t.Context(), store("edge1", "om101")))
		times := rapid.Permutation([]record.Time{1, 2, 3, 4}).Draw(t, "order")
		for _, at := range times {
			value, err := json.Marshal(heartbeat.Switches{Active: at%2 == 0, Writable: true, Draining: at > 2})
			require.NoError(t, err)
			e.Inject(record.Record{Topic: record.Switch, Key: "id of om101", Source: fmt.Sprint("node", at), Time: at, Revision: 1, Value: value})
		}
		p, _ := r.Lookup("id of om101")
		require.True(t, p.Active)
		require.True(t, p.Draining)
	})
}

// What can't be read switches nothing off, and can be set anew.
func TestUnreadableSwitches(t *testing.T) {
	e := recordtest.NewMemory(nil)
	r := newRegistry(t, e)
	id := elsewhere(t, r, nil)
	for i, value := range []string{`{`, `[]`, `{"active":5}`, `{}`} {
		e.Inject(record.Record{Topic: record.Switch, Key: id, Source: "b", Time: record.Time(i + 1), Revision: uint64(i + 1), Value: []byte(value)})
		require.True(t, r.Available(id), value)
	}
	require.NoError(t, r.Switch(t.Context(), id, func(s *heartbeat.Switches) { s.Active = false }))
	require.False(t, r.Available(id))
}
