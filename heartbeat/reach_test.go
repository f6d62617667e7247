package heartbeat_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/record/recordtest"
)

// elsewhere registers a store of another node.
func elsewhere(t testing.TB, r *heartbeat.Registry, change func(*heartbeat.Peer)) string {
	p := store("prism2", "om201")
	p.Cluster, p.Online = "http://127.0.0.1:5971", true
	if change != nil {
		change(&p)
	}
	require.NoError(t, r.Register(context.Background(), p))
	return p.ID
}

func TestAvailableElsewhere(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*heartbeat.Peer)
		want   bool
	}{
		{"as it should be", nil, true},
		{"switched off, as its node says, which is not asked", func(p *heartbeat.Peer) { p.Active = false }, true},
		{"its disk can't be read", func(p *heartbeat.Peer) { p.Online = false }, false},
		{"no way to its node", func(p *heartbeat.Peer) { p.Cluster = "" }, false},
		{"full", func(p *heartbeat.Peer) { p.Room = false }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRegistry(t, recordtest.NewMemory(nil))
			require.Equal(t, c.want, r.Available(elsewhere(t, r, c.change)))
		})
	}
}

// Who fails is not chosen for a while, for longer after each failure, and at
// once when it answers.
func TestFailingIsPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t, recordtest.NewMemory(nil))
		id := elsewhere(t, r, nil)
		r.Answered(id)
		require.True(t, r.Available(id))
		for _, pause := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
			r.Failed(id)
			r.Failed(id) // of another request that was under way
			require.False(t, r.Available(id))
			time.Sleep(pause*time.Second - time.Millisecond)
			require.True(t, r.Reachable(id), "where nobody else is left")
			require.False(t, r.Available(id), "within %ds", pause)
			time.Sleep(time.Millisecond)
			require.True(t, r.Available(id), "after %ds", pause)
		}
		r.Failed(id)
		r.Answered(id)
		require.True(t, r.Available(id))
		r.Failed(id)
		time.Sleep(time.Second)
		require.True(t, r.Available(id), "it begins anew")
	})
}

func TestInFlightElsewhere(t *testing.T) {
	r := newRegistry(t, recordtest.NewMemory(nil))
	require.Zero(t, r.InFlight("a"))
	first, second := r.Begin("a"), r.Begin("a")
	require.EqualValues(t, 2, r.InFlight("a"))
	first()
	require.EqualValues(t, 1, r.InFlight("a"))
	second()
	require.Zero(t, r.InFlight("a"))
	require.Zero(t, r.InFlight("b"))
}

func TestOnChange(t *testing.T) {
	r := newRegistry(t, recordtest.NewMemory(nil))
	changes := 0
	r.OnChange(func() { changes++ })
	elsewhere(t, r, nil)
	require.Equal(t, 1, changes)
	elsewhere(t, r, nil)
	require.Equal(t, 1, changes, "nothing changed")
	elsewhere(t, r, func(p *heartbeat.Peer) { p.Online = false })
	require.Equal(t, 2, changes)
}
