package heartbeat_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/peer"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newRegistry(t testing.TB, e record.Engine) *heartbeat.Registry {
	r := heartbeat.NewRegistry(e, nil)
	t.Cleanup(r.Close)
	require.NoError(t, r.Load(context.Background()))
	return r
}

func prism(name string) heartbeat.Peer {
	return heartbeat.Peer{ID: "id of " + name, Name: peer.Name{Prism: name}, Kind: peer.Prism, Node: name, Active: true, Writable: true}
}

func store(prism, name string) heartbeat.Peer {
	return heartbeat.Peer{
		ID: "id of " + name, Name: peer.Name{Prism: prism, Store: name}, Kind: peer.Store, Node: prism,
		Address: "https://" + name + ".oose.example:5972", Site: "lax1", Group: "rs106a", Domain: "oose.example",
		Free: 500, Total: 1000, Active: true, Writable: true, Started: 1,
	}
}

func TestRegister(t *testing.T) {
	e := recordtest.NewMemory(nil)
	r := newRegistry(t, e)
	require.Empty(t, r.Peers())
	one, two := prism("edge1"), store("edge1", "om101")
	require.NoError(t, r.Register(t.Context(), two))
	require.NoError(t, r.Register(t.Context(), one))
	require.Equal(t, []heartbeat.Peer{one, two}, r.Peers())
	found, ok := r.Lookup(two.ID)
	require.True(t, ok)
	require.Equal(t, two, found)
	_, ok = r.Lookup("nobody")
	require.False(t, ok)

	// Another registry over the same records knows them from the start.
	later := heartbeat.NewRegistry(e, nil)
	defer later.Close()
	require.Empty(t, later.Peers())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, later.Run(ctx), "it could not be loaded")
	require.NoError(t, later.Load(t.Context()))
	require.Equal(t, r.Peers(), later.Peers())
	require.NoError(t, later.Run(ctx))

	require.NoError(t, r.Unregister(t.Context(), two.ID))
	require.NoError(t, r.Unregister(t.Context(), two.ID))
	require.Equal(t, []heartbeat.Peer{one}, r.Peers())
	require.Equal(t, r.Peers(), later.Peers())
	require.NoError(t, r.Register(t.Context(), two))
	require.Len(t, later.Peers(), 2)
}

func TestRegisterWritesOnlyChanges(t *testing.T) {
	e := recordtest.NewMemory(nil)
	r := newRegistry(t, e)
	writes := 0
	defer e.Watch(record.Peer, func([]record.Record) { writes++ })()
	p := store("edge1", "om101")
	for _, c := range []struct {
		edit func()
		want int
	}{
		{func() {}, 1},
		{func() {}, 1},
		{func() { p.Free -= 10 }, 1},
		{func() { p.Free -= 1 }, 2},
		{func() { p.Free += 500 }, 3},
		{func() { p.Writable, p.Active, p.Draining = false, false, true }, 3},
		{func() { p.Room = true }, 4},
		{func() { p.Address = "" }, 5},
		{func() { p.Name.Prism = "edge2" }, 6},
		{func() {}, 6},
	} {
		c.edit()
		require.NoError(t, r.Register(t.Context(), p))
		require.Equal(t, c.want, writes)
	}
}

func TestRegisterRefuses(t *testing.T) {
	e := recordtest.NewMemory(nil)
	r := newRegistry(t, e)
	for name, edit := range map[string]func(*heartbeat.Peer){
		"no id":        func(p *heartbeat.Peer) { p.ID = "" },
		"no name":      func(p *heartbeat.Peer) { p.Name = peer.Name{} },
		"invalid name": func(p *heartbeat.Peer) { p.Name.Store = "A.b" },
		"wrong kind":   func(p *heartbeat.Peer) { p.Kind = peer.Prism },
	} {
		t.Run(name, func(t *testing.T) {
			p := store("edge1", "om101")
			edit(&p)
			require.ErrorIs(t, r.Register(t.Context(), p), heartbeat.ErrInvalidPeer)
		})
	}
	e.Fail(record.ErrUnavailable)
	require.ErrorIs(t, r.Register(t.Context(), prism("edge1")), record.ErrUnavailable)
}

func TestKnown(t *testing.T) {
	r := newRegistry(t, recordtest.NewMemory(nil))
	require.NoError(t, r.Register(t.Context(), prism("edge1")))
	require.NoError(t, r.Register(t.Context(), store("edge1", "om101")))
	require.NoError(t, r.Register(t.Context(), store("edge1", "om102")))
	require.NoError(t, r.Unregister(t.Context(), "id of om102"))
	for host, want := range map[string]bool{
		"om101.oose.example": true, "OM101.Oose.EXAMPLE": true, "edge1.oose.example": true,
		"om102.oose.example": false, "om103.oose.example": false, "oose.example": false, "om101": false, "": false,
		"om101.oose.example.": false, "om101..oose.example": false, "a.om101.oose.example": false, "om101.oose.example.org": false,
		"om101.other.example": false, ".oose.example": false, "*.oose.example": false, "om101.oose.example:443": false,
		"edge1:om101.oose.example": false, "om101\x00.oose.example": false,
	} {
		require.Equal(t, want, r.Known(host, "oose.example"), host)
	}
	require.False(t, r.Known("om101.", ""))
	require.False(t, r.Known("om101", ""))
	require.True(t, r.Known("om101.oose.example", "OOSE.example"))
}

func TestByLabel(t *testing.T) {
	r := newRegistry(t, recordtest.NewMemory(nil))
	require.NoError(t, r.Register(t.Context(), prism("same")))
	p, ok := r.ByLabel("same")
	require.True(t, ok)
	require.Equal(t, peer.Prism, p.Kind)
	s := store("edge1", "same")
	s.ID = "another id"
	require.NoError(t, r.Register(t.Context(), s))
	p, ok = r.ByLabel("SAME")
	require.True(t, ok)
	require.Equal(t, s, p)
	_, ok = r.ByLabel("edge1")
	require.False(t, ok)
}

func TestAvailable(t *testing.T) {
	r := newRegistry(t, recordtest.NewMemory(nil))
	p := store("edge1", "om101")
	require.NoError(t, r.Register(t.Context(), p))
	require.False(t, r.Available(p.ID), "carried by nobody")
	healthy := true
	detach := r.Attach(p.ID, func() bool { return healthy })
	require.True(t, r.Available(p.ID))
	require.True(t, r.Local(p.ID))
	healthy = false
	require.False(t, r.Available(p.ID))
	healthy = true
	require.NoError(t, r.Switch(t.Context(), p.ID, func(s *heartbeat.Switches) { s.Active = false }))
	require.False(t, r.Available(p.ID), "switched off")
	require.NoError(t, r.Switch(t.Context(), p.ID, func(s *heartbeat.Switches) { s.Active = true }))

	again := r.Attach(p.ID, func() bool { return true })
	detach()
	require.True(t, r.Available(p.ID), "what was attached since stays")
	again()
	require.False(t, r.Available(p.ID))
	require.False(t, r.Local(p.ID))

	defer r.Attach("not registered yet", func() bool { return true })()
	require.True(t, r.Available("not registered yet"))
}

func TestUnreadableRegistration(t *testing.T) {
	e := recordtest.NewMemory(nil)
	for i, value := range []string{`{`, `{"name":"A B"}`, `{"name":5}`} {
		e.Inject(record.Record{Topic: record.Peer, Key: "broken", Source: "b", Time: 1, Revision: uint64(i + 1), Value: []byte(value)})
		r := newRegistry(t, e)
		require.NoError(t, r.Register(t.Context(), prism("edge1")))
		require.Len(t, r.Peers(), 1)
	}
}

// In whatever order records arrive, by watching and by loading, the view is
// that of the newest of each source.
func TestRecordsInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := recordtest.NewMemory(nil)
		before := heartbeat.NewRegistry(e, nil)
		defer before.Close()
		for range rapid.IntRange(0, 20).Draw(t, "records") {
			n := rapid.Uint64Range(1, 6).Draw(t, "revision")
			source := rapid.SampledFrom([]string{"b", "c"}).Draw(t, "source")
			rec := record.Record{Topic: record.Peer, Key: "id", Source: source, Time: record.Time(n), Revision: n, Deleted: n%3 == 0}
			if !rec.Deleted {
				rec.Value = []byte(`{"name":"edge` + source + `","kind":"prism","active":true,"started":` + rec.Time.String() + `}`)
			}
			e.Inject(rec)
			if rapid.IntRange(0, 5).Draw(t, "load") == 0 {
				require.NoError(t, before.Load(context.Background()))
			}
		}
		after := heartbeat.NewRegistry(e, nil)
		defer after.Close()
		require.NoError(t, after.Load(context.Background()))
		require.Equal(t, after.Peers(), before.Peers())
	})
}

func BenchmarkAvailable(b *testing.B) {
	r := newRegistry(b, recordtest.NewMemory(nil))
	require.NoError(b, r.Register(b.Context(), store("edge1", "om101")))
	defer r.Attach("id of om101", func() bool { return true })()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if !r.Available("id of om101") {
				b.Error("not available")
				return
			}
		}
	})
}
