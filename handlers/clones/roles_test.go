package clones_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers/clones"
	"github.com/ooseio/oose/handlers/delivery"
	"github.com/ooseio/oose/handlers/handlertest"
	"github.com/ooseio/oose/handlers/prism"
	"github.com/ooseio/oose/handlers/store"
	"github.com/ooseio/oose/handlers/upload"
	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/peer"
	"github.com/ooseio/oose/record"
)

// two are two nodes: one with prism1:store1, the other with prism1:store2 and
// prism2:store3.
type two struct {
	here, there *handlertest.Rig
	source      *clones.Source
}

func newTwo(t *testing.T) *two {
	n := &two{here: handlertest.New(t, "prism1:store1"), there: handlertest.New(t, "prism1:store2", "prism2:store3")}
	server := clones.NewServer(clones.ServerDeps{Volumes: n.there, Index: n.there.Index, Records: n.there.Engine})
	mounted := httptest.NewServer(server)
	transport := &http.Transport{}
	client := clones.NewClient(clones.ClientDeps{Doer: &http.Client{Transport: transport}, Importer: n.here.Engine})
	t.Cleanup(func() {
		require.NoError(t, n.here.Uploader.Close(context.Background()))
		require.NoError(t, client.Close(context.Background()))
		transport.CloseIdleConnections()
		mounted.Close()
		require.NoError(t, server.Close(context.Background()))
	})
	n.source = clones.NewSource(client, n.here.Registry)
	for _, p := range n.there.Registry.Peers() {
		p.Cluster, p.Online, p.Room, p.Free = mounted.URL, true, true, 1<<30
		require.NoError(t, n.here.Registry.Register(t.Context(), p))
	}
	return n
}

// known tells this node what the other holds.
func (n *two) known(t *testing.T) {
	for r, err := range n.there.Engine.List(t.Context(), record.Inventory, record.ByKey, "", "") {
		require.NoError(t, err)
		require.NoError(t, n.here.Engine.Import(t.Context(), []record.Record{r}))
	}
}

func (n *two) basic() (string, string) {
	return "Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:"+handlertest.Password))
}

// own lists a prism's stores, as a node does.
func (n *two) own(t *testing.T, prism string) []upload.Store {
	var list []upload.Store
	for _, p := range n.here.Registry.Peers() {
		if p.Kind != peer.Store || p.Name.Prism != prism {
			continue
		}
		if v, ok := n.here.Volume(p.ID); ok {
			list = append(list, upload.Local(v, p.Node, p.Group))
			continue
		}
		s, ok := n.source.Store(p)
		require.True(t, ok)
		list = append(list, s)
	}
	return list
}

func object(t testing.TB, a handlertest.Answer) map[string]any {
	t.Helper()
	var v map[string]any
	require.NoError(t, json.Unmarshal(a.Body, &v), "%d %s", a.Status, a.Body)
	return v
}

// A store sends its clone to one of another node, which verifies what came.
func TestSendToAnotherNode(t *testing.T) {
	n := newTwo(t)
	fox := n.here.Put(t, "store1", "txt", handlertest.Fox)
	deps := store.Deps{
		Volume: n.here.Store(t, "store1"), Uploader: n.here.Uploader, Stores: n.here, Peers: n.here.Registry,
		Counters: n.here.Counters, Clock: n.here.Clock, Log: n.here.Log,
	}
	set := store.Settings{Name: peer.Name{Prism: "prism1", Store: "store1"}, Basic: handlertest.Basic(t, "admin")}
	alone := handlertest.Serve(t, store.New(deps, set))
	deps.Remote = n.source.Store
	joined := handlertest.Serve(t, store.New(deps, set))
	key, value := n.basic()
	send := func(base, to string) handlertest.Answer {
		return handlertest.Post(t, base+"/content/send", `{"file":"`+fox.String()+`.txt","store":"`+to+`"}`, key, value)
	}
	a := send(alone.URL, "prism2:store3")
	require.Equal(t, 502, a.Status, "%s", a.Body)
	require.Contains(t, object(t, a)["error"], "can't be reached")

	a = send(joined.URL, "prism2:store3")
	require.Equal(t, 200, a.Status, "%s", a.Body)
	require.Equal(t, "Clone sent", object(t, a)["success"])
	require.Equal(t, true, object(t, a)["store"].(map[string]any)["available"])
	c, ok, err := n.there.Store(t, "store3").Has(t.Context(), fox)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "txt", c.Ext)
	p, err := n.here.Index.Find(t.Context(), fox)
	require.NoError(t, err)
	require.Len(t, p.Clones, 2, "this node knows it at once")

	n.here.Registry.Failed(c.Store)
	a = send(joined.URL, "prism2:store3")
	require.Equal(t, 502, a.Status, "%s", a.Body)
	require.Contains(t, object(t, a)["error"], "can't be used now")
}

func (n *two) prism(t *testing.T, name string) *httptest.Server {
	return handlertest.Serve(t, prism.New(prism.Deps{
		Book: n.here.Book, Index: n.here.Index, Users: n.here.Users, Sessions: n.here.Sessions, Uploader: n.here.Uploader,
		Stores: n.here, Peers: n.here.Registry, Counters: n.here.Counters, Clock: n.here.Clock, Log: n.here.Log,
		Own: func() []upload.Store { return n.own(t, name) },
		Sender: delivery.NewSender(delivery.Deps{
			Stores: n.here, Registry: n.here.Registry, Elsewhere: n.source, Self: heartbeat.Location{}, Log: n.here.Log,
		}),
	}, prism.Settings{Name: peer.Name{Prism: name}, Basic: handlertest.Basic(t, "admin")}))
}

// A prism puts content to its own stores, wherever these are, and to no others.
func TestPutOnOwnStores(t *testing.T) {
	n := newTwo(t)
	put := func(prism, body string) handlertest.Answer {
		h := handlertest.HashOf(t, content.SHA1, body)
		r, err := http.NewRequest(http.MethodPut, n.prism(t, prism).URL+"/content/put/"+h.String()+".txt", strings.NewReader(body))
		require.NoError(t, err)
		key, value := n.basic()
		r.Header.Set(key, value)
		return handlertest.Do(t, r)
	}
	for i := range 3 {
		body := "for prism2, " + string(rune('0'+i))
		a := put("prism2", body)
		require.Equal(t, 201, a.Status, "%s", a.Body)
		require.Equal(t, "1", a.Header.Get("OOSE-Durability"))
		_, ok, err := n.there.Store(t, "store3").Has(t.Context(), handlertest.HashOf(t, content.SHA1, body))
		require.NoError(t, err)
		require.True(t, ok)
	}
	holders := map[string]bool{}
	for i := range 40 {
		body := "for prism1, " + string(rune('0'+i))
		require.Equal(t, 201, put("prism1", body).Status)
		p, err := n.here.Index.Find(t.Context(), handlertest.HashOf(t, content.SHA1, body))
		require.NoError(t, err)
		require.Len(t, p.Clones, 1)
		holders[p.Clones[0].Store] = true
	}
	require.Contains(t, holders, n.here.Store(t, "store1").ID())
	require.NotContains(t, holders, n.there.Store(t, "store3").ID())
	require.Equal(t, 503, put("prism3", "for nobody").Status)
}

// A download through the API comes from wherever the clone is.
func TestDownloadFromElsewhere(t *testing.T) {
	n := newTwo(t)
	body := strings.Repeat(handlertest.Fox, 10_000)
	h := n.there.Put(t, "store3", "txt", body)
	n.known(t)
	session := n.here.Login(t)
	base := n.prism(t, "prism1").URL
	ask := func(header ...string) handlertest.Answer {
		return handlertest.Post(t, base+"/content/download", `{"hash":"`+h.String()+`"}`, append(header, "X-OOSE-Token", session)...)
	}
	a := ask()
	require.Equal(t, 200, a.Status)
	require.Equal(t, body, string(a.Body))
	require.Contains(t, a.Header.Get("Content-Type"), "text/plain")
	a = ask("Range", "bytes=100000-100015")
	require.Equal(t, 206, a.Status)
	require.Equal(t, body[100000:100016], string(a.Body))
	a = ask("Range", "bytes=9000000-")
	require.Equal(t, 416, a.Status)

	store := n.there.Store(t, "store3").ID()
	n.here.Registry.Failed(store)
	require.Equal(t, 200, ask().Status, "one failure takes nobody out who alone has it")
	n.here.Registry.Failed(store)
	count := func() any {
		a := handlertest.Post(t, base+"/content/detail", `{"hash":"`+h.String()+`"}`, "X-OOSE-Token", session)
		require.Equal(t, 200, a.Status, "%s", a.Body)
		return object(t, a)["count"]
	}
	require.EqualValues(t, 1, count())
	n.here.Registry.Failed(store)
	p, ok := n.here.Registry.Lookup(store)
	require.True(t, ok)
	n.here.Registry.SetHealth(&heartbeat.Health{Stores: map[heartbeat.Carried]heartbeat.StoreHealth{{Node: p.NodeID, Store: store}: {ID: store}}})
	a = ask()
	require.Equal(t, 503, a.Status, "its disk can't be read")
	require.EqualValues(t, 0, count())
	require.Equal(t, "No store candidates found", object(t, a)["error"])
	n.here.Registry.SetHealth(nil)
	require.Equal(t, 200, ask().Status)
}

func TestStoresForUploads(t *testing.T) {
	n := newTwo(t)
	p, ok := n.here.Registry.Lookup(n.there.Store(t, "store3").ID())
	require.True(t, ok)
	p.Site, p.Group = "lax1", "rack1"
	s, ok := n.source.Store(p)
	require.True(t, ok)
	require.Equal(t, inventory.Target{ID: p.ID, Node: p.Node, Group: "lax1/rack1", Free: p.Free}, s.Target())
	require.True(t, s.Readable() && s.Writable())
	for name, change := range map[string]func(*heartbeat.Peer){
		"switched off":      func(p *heartbeat.Peer) { p.Active = false },
		"not to be written": func(p *heartbeat.Peer) { p.Writable = false },
		"without room":      func(p *heartbeat.Peer) { p.Room = false },
	} {
		q := p
		change(&q)
		s, ok := n.source.Store(q)
		require.True(t, ok)
		require.False(t, s.Writable(), name)
	}
	q := p
	q.Cluster = ""
	_, ok = n.source.Store(q)
	require.False(t, ok)
	q = p
	q.Kind = peer.Prism
	_, ok = n.source.Store(q)
	require.False(t, ok)
}
