package adminapi

import (
	"context"
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/ooseio/oose/audit"
	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/repair"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/inventory"
	plan "github.com/ooseio/oose/inventory/repair"
	"github.com/ooseio/oose/node"
	"github.com/ooseio/oose/peer"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

// crew is an agent that repairs at a word: each look at a draining store finds
// one clone less that is needed.
type crew struct {
	mu       sync.Mutex // guards held
	held     map[string][]string
	needed   int64
	alone    []content.Hash
	failed   error
	drained  map[string]bool
	forgot   []string
	gone     error
	nows     int
	registry *heartbeat.Registry
}

func (c *crew) Drain(ctx context.Context, store string, on bool) error {
	c.drained[store] = on
	return c.registry.Switch(ctx, store, func(s *heartbeat.Switches) { s.Draining = on })
}

func (c *crew) Forget(_ context.Context, store string) error {
	if c.gone == nil {
		c.forgot = append(c.forgot, store)
	}
	return c.gone
}

func (c *crew) Draining(context.Context, string) (repair.Drain, error) {
	d := repair.Drain{Left: c.needed + 1, Bytes: c.needed * 1000, Needed: c.needed}
	c.needed = max(0, c.needed-1)
	return d, c.failed
}

func (c *crew) DrainingEach(ctx context.Context, store string, alone func(content.Hash)) (repair.Drain, error) {
	for _, h := range c.alone {
		alone(h)
	}
	d, err := c.Draining(ctx, store)
	d.Alone, d.Needed = int64(len(c.alone)), d.Needed+int64(len(c.alone))
	return d, err
}

func (c *crew) Look() {}

func (c *crew) Status() repair.Status { return repair.Status{LastError: "no room", Missing: 7} }

func (c *crew) Now(context.Context) []string {
	c.nows++
	return []string{"id2"}
}

func (c *crew) Content(_ context.Context, h content.Hash) (repair.Content, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := repair.Content{Wanted: 2}
	for _, store := range c.held[h.String()] {
		out.Clones = append(out.Clones, inventory.Clone{Hash: h, Store: store, Ext: "mp4", Size: 1000, Stored: 5, Kept: 1})
	}
	out.Good = len(out.Clones)
	out.Missing = max(0, 2-out.Good)
	for _, id := range []string{"id1", "id2"} {
		if out.Missing > 0 && !slices.Contains(c.held[h.String()], id) {
			out.Targets = append(out.Targets, id)
		}
	}
	return out, nil
}

func (c *crew) Copy(_ context.Context, h content.Hash, to string, _ func(int64)) (inventory.Clone, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held[h.String()] = append(c.held[h.String()], to)
	return inventory.Clone{}, nil
}

func (c *crew) Drop(context.Context, content.Hash, string, int) error { return repair.ErrNeeded }

func (c *crew) Verify(context.Context, content.Hash, string, bool) (inventory.Verification, error) {
	return inventory.Verification{OK: true}, nil
}

func (c *crew) Standing(string) (plan.Store, bool) { return plan.Store{}, true }

// newCrewDesk is a desk with two stores.
func newCrewDesk(t *testing.T) (*desk, *crew) {
	t.Helper()
	clock := record.NewClock(nil)
	d := &desk{engine: recordtest.NewMemory(clock)}
	d.index = inventory.NewIndex(d.engine, clock, 100)
	t.Cleanup(d.index.Close)
	d.audit = audit.New(t.TempDir(), "edge1", zap.NewNop())
	t.Cleanup(func() { require.NoError(t, d.audit.Close()) })
	registry := heartbeat.NewRegistry(d.engine, zap.NewNop())
	t.Cleanup(registry.Close)
	for id, name := range map[string]string{"id1": "store1", "id2": "store2"} {
		require.NoError(t, registry.Register(t.Context(), heartbeat.Peer{
			ID: id, Name: peer.Name{Prism: "prism1", Store: name}, Kind: peer.Store, Online: true, Room: true, Active: true, Writable: true,
		}))
		t.Cleanup(registry.Attach(id, func() bool { return true }))
	}
	require.NoError(t, registry.Register(t.Context(), heartbeat.Peer{ID: "p", Name: peer.Name{Prism: "prism1"}, Kind: peer.Prism, Active: true}))
	c := &crew{held: map[string][]string{hashA: {"id1"}, hashB: {"id1", "id2"}}, drained: map[string]bool{}, registry: registry}
	for hash, stores := range c.held {
		for _, store := range stores {
			_, err := d.engine.Update(t.Context(), record.Inventory, hash, record.Condition{}, record.Change{Member: store, Value: []byte(`{"ext":"mp4","size":1000,"kept":"1"}`)})
			require.NoError(t, err)
		}
	}
	d.ServeMux = adminWith(func() (*parts, error) {
		return &parts{
			engine: d.engine, index: d.index, audit: d.audit, registry: registry, keeper: c, repair: c, every: time.Millisecond, copies: 2,
			counters: new(handlers.Counters), release: func() {},
		}, nil
	})
	return d, c
}

// lines reads an answer of lines.
func linesOf(t *testing.T, d *desk, path, body string) (lines []StreamLine) {
	t.Helper()
	w := d.ask(t, "POST", path, body)
	require.Equal(t, 200, w.Code, "%s", w.Body)
	for line := range strings.Lines(w.Body.String()) {
		var l StreamLine
		require.NoError(t, json.Unmarshal([]byte(line), &l))
		if l.Clones == nil { // how far it is
			lines = append(lines, l)
		}
	}
	return lines
}

func actionsOf(t *testing.T, d *desk) (list []string) {
	for _, e := range d.entries(t) {
		list = append(list, strings.TrimSpace(string(e.Action)+" "+e.Store))
	}
	return list
}

func TestDrainRoutes(t *testing.T) {
	d, c := newCrewDesk(t)
	c.needed = 3
	lines := linesOf(t, d, "/oose/drain", `{"store":"store1","wait":true}`)
	require.Len(t, lines, 4)
	require.EqualValues(t, 3, lines[0].Drain.Needed)
	require.Equal(t, "prism1:store1", lines[0].Drain.Store)
	require.Equal(t, "no room", lines[0].Drain.LastError)
	require.EqualValues(t, 1, lines[2].Drain.Needed)
	require.Positive(t, lines[2].Drain.Rate)
	require.EqualValues(t, 3, lines[2].Drain.Of)
	var last DrainLine
	require.NoError(t, json.Unmarshal(lines[3].Result, &last))
	require.True(t, last.Safe)
	require.True(t, c.drained["id1"])

	c.needed = 5
	lines = linesOf(t, d, "/oose/drain", `{"store":"prism1:store1"}`)
	require.Len(t, lines, 1, "nobody waits")
	require.NoError(t, json.Unmarshal(lines[0].Result, &last))
	require.False(t, last.Safe)

	lines = linesOf(t, d, "/oose/drain", `{"store":"id2"}`)
	require.Contains(t, lines[0].Warning, "No other store takes clones")
	linesOf(t, d, "/oose/undrain", `{"store":"store1"}`)
	require.False(t, c.drained["id1"])
	require.Equal(t, []string{"store.drain prism1:store1", "store.drain prism1:store2", "store.undrain prism1:store1"}, actionsOf(t, d), "asking again changes nothing")

	for body, status := range map[string]int{`{}`: 400, `{"store":"nobody"}`: 404, `{"store":"prism1"}`: 400} {
		require.Equal(t, status, d.ask(t, "POST", "/oose/drain", body).Code, body)
	}
	linesOf(t, d, "/oose/undrain", `{"store":"store2"}`)
	c.failed = record.ErrUnavailable
	require.Equal(t, http.StatusServiceUnavailable, d.ask(t, "POST", "/oose/drain", `{"store":"store1"}`).Code)
}

// numbered is some hash.
func numbered(n int) content.Hash {
	sum := sha1.Sum(fmt.Append(nil, n))
	h, err := content.HashOf(content.SHA1, sum[:])
	if err != nil {
		panic(err)
	}
	return h
}

func TestForgetAndSwitchRoutes(t *testing.T) {
	d, c := newCrewDesk(t)
	c.gone = node.ErrStillThere
	w := d.ask(t, "POST", "/oose/forget", `{"store":"store1"}`)
	require.Equal(t, 409, w.Code)
	require.Contains(t, w.Body.String(), "stop its node first")
	c.gone, c.needed = nil, 3
	for i := range lostListed + 1 {
		c.alone = append(c.alone, numbered(i))
	}
	lines := linesOf(t, d, "/oose/forget", `{"store":"store1"}`)
	require.Equal(t, []string{"id1"}, c.forgot)
	var answer ForgetAnswer
	require.NoError(t, json.Unmarshal(lines[len(lines)-1].Result, &answer))
	require.EqualValues(t, lostListed+1, answer.Alone, "what is lost is told plainly")
	require.Len(t, answer.Lost, lostListed)
	require.Equal(t, numbered(0).String(), answer.Lost[0])
	require.Positive(t, answer.Short)
	require.Contains(t, string(linesOf(t, d, "/oose/forget", `{"store":"prism1"}`)[0].Result), `"store":"prism1"`, "a prism as well")
	require.Len(t, c.forgot, 2)
	linesOf(t, d, "/oose/forget", `{"store":"00112233445566778899aabbccddeeff"}`)
	require.Equal(t, "00112233445566778899aabbccddeeff", c.forgot[2], "a store that has left the registry, by its id")
	require.Equal(t, 404, d.ask(t, "POST", "/oose/forget", `{"store":"nobody"}`).Code)

	w = d.ask(t, "POST", "/oose/switch", `{"peer":"store2","writable":false}`)
	require.Equal(t, 200, w.Code, w.Body)
	require.JSONEq(t, `{"peer":"prism1:store2","id":"id2","active":true,"writable":false,"draining":false}`, w.Body.String())
	p, _ := c.registry.Lookup("id2")
	require.False(t, p.Writable)
	d.ask(t, "POST", "/oose/switch", `{"peer":"store2","writable":false}`)
	d.ask(t, "POST", "/oose/switch", `{"peer":"prism1","active":false}`)
	require.Equal(t, []string{"store.forget prism1:store1", "peer.forget prism1", "store.forget former:00112233", "peer.switch prism1:store2", "peer.switch prism1"}, actionsOf(t, d))
	for body, status := range map[string]int{`{"peer":"store2"}`: 400, `{"peer":"prism1","writable":true}`: 400, `{"peer":"x","active":true}`: 404} {
		require.Equal(t, status, d.ask(t, "POST", "/oose/switch", body).Code, body)
	}
}

func TestClonesRoute(t *testing.T) {
	d, c := newCrewDesk(t)
	lines := linesOf(t, d, "/oose/clones", `{}`)
	require.Len(t, lines, 1, "only counted")
	require.JSONEq(t, `{"contents":2,"bytes":2000,"byCount":{"1":1,"2":1},"copied":0,"moved":0,"dropped":0,"verified":0,"read":0,"skipped":0,"damaged":0,"kept":0,"failed":0,"blocked":0}`, string(lines[0].Result))

	told := func(body string) (hashes []string, all []StreamLine) {
		all = linesOf(t, d, "/oose/clones", body)
		for _, l := range all {
			if l.Content != nil {
				hashes = append(hashes, l.Content.Hash)
			}
		}
		return hashes, all
	}
	hashes, _ := told(`{"below":2}`)
	require.Equal(t, []string{hashA}, hashes)
	hashes, _ = told(`{"all":true}`)
	require.ElementsMatch(t, []string{hashA, hashB}, hashes)
	hashes, _ = told(`{"store":"store2"}`)
	require.Equal(t, []string{hashB}, hashes)
	hashes, _ = told(`{"prism":"prism1","above":1}`)
	require.Equal(t, []string{hashB}, hashes)
	hashes, lines = told(`{"folder":"2a/ae","detail":true}`)
	require.Equal(t, []string{hashA}, hashes)
	i := slices.IndexFunc(lines, func(l StreamLine) bool { return l.Content != nil })
	require.Equal(t, []CloneLine{{Store: "prism1:store1", Standing: "good", ID: "id1", Ext: "mp4", Size: 1000, Stored: 5}}, lines[i].Content.Clones)

	hashes, _ = told(`{"below":2,"desired":2,"pretend":true}`)
	require.Equal(t, []string{hashA}, hashes)
	require.Len(t, c.held[hashA], 1)
	require.Empty(t, d.entries(t))
	_, lines = told(`{"below":2,"desired":2}`)
	require.Equal(t, []string{"id1", "id2"}, c.held[hashA])
	require.Contains(t, string(lines[len(lines)-1].Result), `"copied":1`)
	require.Equal(t, []string{"clone.add prism1:store2"}, actionsOf(t, d))
	_, lines = told(`{"hash":"` + hashA + `","dropFrom":"store1"}`)
	require.Contains(t, string(lines[len(lines)-1].Result), `"kept":1`)

	for body, says := range map[string]string{
		`{"desired":2}`:                                    "Say which contents are meant",
		`{"all":true,"desired":1}`:                         "force it",
		`{"hash":"x"}`:                                     "is not a hash",
		`{"all":true,"cloneTo":"x"}`:                       "no peer",
		`{"all":true,"dropFrom":"prism1"}`:                 "is a prism",
		`{"prism":"nobody"}`:                               "no prism",
		`{"prism":"prism1","store":"id1"}`:                 "not both",
		`{"folder":"xyz"}`:                                 "beginning of a hash",
		`{"below":-1}`:                                     "below zero",
		`{"all":true,"now":true}`:                          "belongs to",
		`{"all":true,"desired":1000}`:                      "1 to 64",
		`{"all":true,"cloneTo":"id1","dropFrom":"store1"}`: "dropped from",
		`{"all":`: "not the JSON",
		`{"all":true,"dropFrom":"store1","protectStores":"store1"}`: "protected",
	} {
		w := d.ask(t, "POST", "/oose/clones", body)
		require.GreaterOrEqual(t, w.Code, 400, body)
		require.Contains(t, w.Body.String(), says, body)
	}
}

func TestRepairRoute(t *testing.T) {
	d, c := newCrewDesk(t)
	lines := linesOf(t, d, "/oose/clones", `{"repair":true}`)
	require.Contains(t, string(lines[0].Result), `"missing":7`)
	require.Zero(t, c.nows)
	lines = linesOf(t, d, "/oose/clones", `{"repair":true,"now":true}`)
	require.Contains(t, string(lines[0].Result), `"givenUp":["prism1:store2"]`)
	require.Equal(t, []string{"repair.now prism1:store2"}, actionsOf(t, d))
}

// Interface guards
var (
	_ repairer = (*crew)(nil)
	_ keeper   = (*crew)(nil)
)
