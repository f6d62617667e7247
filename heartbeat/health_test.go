package heartbeat_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/record/recordtest"
)

func TestHealth(t *testing.T) {
	r := newRegistry(t, recordtest.NewMemory(nil))
	id := elsewhere(t, r, func(p *heartbeat.Peer) { p.NodeID, p.Room = "n2", true })
	defer r.Begin(id)()
	well := heartbeat.StoreHealth{ID: id, Readable: true, Writable: true}
	for _, c := range []struct {
		name                      string
		standing                  heartbeat.Standing
		store                     *heartbeat.StoreHealth
		available, writable, last bool
	}{
		{"up", heartbeat.Up, nil, true, true, false},
		{"up, and its store is well", heartbeat.Up, &well, true, true, false},
		{"on trial, with a request in flight", heartbeat.Trial, &well, true, true, true},
		{"held", heartbeat.Held, &well, true, false, true},
		{"unreached", heartbeat.Unreached, &well, false, false, false},
		{"down", heartbeat.Down, nil, false, false, false},
		{"its disk can't be read", heartbeat.Up, &heartbeat.StoreHealth{ID: id, Writable: true}, false, false, false},
		{"its disk can't be written", heartbeat.Up, &heartbeat.StoreHealth{ID: id, Readable: true}, true, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &heartbeat.Health{Nodes: map[string]heartbeat.Standing{"n2": c.standing, "n3": heartbeat.Down}}
			if c.store != nil { // and a node that has it no more says the opposite
				other := heartbeat.StoreHealth{ID: id, Readable: !c.store.Readable, Writable: !c.store.Writable}
				h.Stores = map[heartbeat.Carried]heartbeat.StoreHealth{{Node: "n2", Store: id}: *c.store, {Node: "n3", Store: id}: other}
			}
			r.SetHealth(h)
			require.Equal(t, c.standing, r.Standing(id))
			require.Equal(t, c.available, r.Available(id))
			require.Equal(t, c.available, r.Reachable(id), "it has failed no request")
			require.Equal(t, c.writable, r.Writable(id))
			require.Equal(t, c.last, r.Last(id))
		})
	}
	r.SetHealth(nil)
	require.True(t, r.Available(id), "nothing is said")
	require.Equal(t, heartbeat.Up, r.Standing("nobody"))
	require.False(t, r.Writable("nobody"))
}

func TestLastIsOrderedLast(t *testing.T) {
	r := newRegistry(t, recordtest.NewMemory(nil))
	id := elsewhere(t, r, func(p *heartbeat.Peer) { p.NodeID = "n2" })
	r.SetHealth(&heartbeat.Health{Nodes: map[string]heartbeat.Standing{"n2": heartbeat.Trial}})
	first := func() string {
		return heartbeat.Order(heartbeat.Location{Site: "here"}, []heartbeat.Candidate{
			{ID: "far"}, {ID: id, Site: "here", InFlight: r.InFlight(id), Last: r.Last(id)},
		})[0].ID
	}
	require.Equal(t, id, first(), "one request is tried")
	done := r.Begin(id)
	require.Equal(t, "far", first(), "the others go elsewhere meanwhile")
	done()
	require.Equal(t, id, first())
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Whatever takes a peer away gives the sign, and what is only one request's
// misfortune, or the operator's wish, does not.
func TestGone(t *testing.T) {
	down := &heartbeat.Health{Nodes: map[string]heartbeat.Standing{"n2": heartbeat.Down}}
	for _, c := range []struct {
		name  string
		doing func(r *heartbeat.Registry, id string)
		want  bool
	}{
		{"a request fails", func(r *heartbeat.Registry, id string) { r.Failed(id) }, false},
		{"it is switched off", func(r *heartbeat.Registry, id string) {
			require.NoError(t, r.Switch(t.Context(), id, func(s *heartbeat.Switches) { s.Active = false }))
		}, false},
		{"another node is down", func(r *heartbeat.Registry, _ string) {
			r.SetHealth(&heartbeat.Health{Nodes: map[string]heartbeat.Standing{"n3": heartbeat.Down}})
		}, false},
		{"on trial", func(r *heartbeat.Registry, _ string) {
			r.SetHealth(&heartbeat.Health{Nodes: map[string]heartbeat.Standing{"n2": heartbeat.Trial}})
		}, false},
		{"its node is down", func(r *heartbeat.Registry, _ string) { r.SetHealth(down) }, true},
		{"its node can't be reached", func(r *heartbeat.Registry, _ string) {
			r.SetHealth(&heartbeat.Health{Nodes: map[string]heartbeat.Standing{"n2": heartbeat.Unreached}})
		}, true},
		{"its disk can't be read", func(r *heartbeat.Registry, id string) {
			r.SetHealth(&heartbeat.Health{Stores: map[heartbeat.Carried]heartbeat.StoreHealth{{Node: "n2", Store: id}: {ID: id}}})
		}, true},
		{"a node that does not have it can't read it", func(r *heartbeat.Registry, id string) {
			r.SetHealth(&heartbeat.Health{Stores: map[heartbeat.Carried]heartbeat.StoreHealth{{Node: "n3", Store: id}: {ID: id}}})
		}, false},
		{"its node says that it is away", func(r *heartbeat.Registry, id string) {
			elsewhere(t, r, func(p *heartbeat.Peer) { p.NodeID, p.Online = "n2", false })
		}, true},
		{"it is taken out of the registry", func(r *heartbeat.Registry, id string) {
			require.NoError(t, r.Unregister(t.Context(), id))
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRegistry(t, recordtest.NewMemory(nil))
			id := elsewhere(t, r, func(p *heartbeat.Peer) { p.NodeID = "n2" })
			sign := r.Gone(id)
			require.False(t, closed(sign))
			require.Equal(t, sign, r.Gone(id), "one sign for all requests")
			c.doing(r, id)
			require.Equal(t, c.want, closed(sign))
			require.Equal(t, c.want, closed(r.Gone(id)))
			r.SetHealth(nil)
			elsewhere(t, r, func(p *heartbeat.Peer) { p.NodeID = "n2" })
			require.False(t, closed(r.Gone(id)), "it is back, for new requests")
			require.Equal(t, c.want, closed(sign))
		})
	}
	r := newRegistry(t, recordtest.NewMemory(nil))
	require.True(t, closed(r.Gone("nobody")))
	defer r.Attach("here", func() bool { return false })()
	require.Nil(t, r.Gone("here"))
}

// No request that begins while its peer goes misses the sign.
func TestGoneWhileItGoes(t *testing.T) {
	r := newRegistry(t, recordtest.NewMemory(nil))
	id := elsewhere(t, r, func(p *heartbeat.Peer) { p.NodeID = "n2" })
	for range 200 {
		r.SetHealth(nil)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { <-r.Gone(id) })
		}
		r.SetHealth(&heartbeat.Health{Nodes: map[string]heartbeat.Standing{"n2": heartbeat.Down}})
		all.Wait()
	}
}

func BenchmarkAvailableElsewhere(b *testing.B) {
	r := newRegistry(b, recordtest.NewMemory(nil))
	id := elsewhere(b, r, func(p *heartbeat.Peer) { p.NodeID = "n2" })
	r.SetHealth(&heartbeat.Health{
		Nodes:  map[string]heartbeat.Standing{"n3": heartbeat.Down},
		Stores: map[heartbeat.Carried]heartbeat.StoreHealth{{Node: "n2", Store: id}: {ID: id, Readable: true, Writable: true}},
	})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if !r.Available(id) {
				b.Error("not available")
				return
			}
		}
	})
}
