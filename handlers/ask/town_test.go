package ask

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ooseio/oose/purchase"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// town is some nodes in one process, which call one another without a network.
type town struct {
	t     *testing.T
	nodes map[string]*node
}

// node is one of them: its own engine, its asker, and a book over that.
type node struct {
	Node
	town    *town
	name    string
	engine  *recordtest.Memory
	asker   *Asker
	book    *purchase.Book
	clock   *record.Clock
	mu      sync.Mutex
	state   state
	late    bool // it is catching up
	scans   bool
	took    int // questions that reached it
	covered map[string]time.Time
	away    map[string]bool          // nodes that it does not reach otherwise either
	passes  func(record.Record) bool // over what counts for nothing; nil: over nothing
}

// state is how a node answers.
type state struct {
	err   error         // the connection fails
	wait  time.Duration // it answers later
	hangs bool          // it never answers
	body  string        // it answers this
	code  int
}

var errDown = errors.New("connection refused")

func newTown(t *testing.T, nodes ...Node) *town {
	w := &town{t: t, nodes: make(map[string]*node)}
	for _, of := range nodes {
		name := of.ID
		of.Address, of.Source = "http://"+name, "source-"+name
		n := &node{Node: of, town: w, name: name, clock: record.NewClock(nil), covered: make(map[string]time.Time)}
		n.engine = recordtest.NewMemoryOf(of.Source, n.clock)
		zone := byte('z')
		if len(of.Zones) > 0 {
			zone = of.Zones[0][0]
		}
		minter, err := purchase.NewMinter(zone, bytes.Repeat([]byte("k"), 32), n.clock)
		require.NoError(t, err)
		n.asker = New(Deps{
			Engine: n.engine, Client: n, Nodes: n.others, Complete: n.complete,
			Plausible: func(token string) bool { return n.book.Plausible(purchase.Token(token)) },
			Ready:     func() bool { return !is(n, func() bool { return n.late }) },
			Scanning:  func() bool { return is(n, func() bool { return n.scans }) },
			Away:      func(o Node) bool { return is(n, func() bool { return n.away[o.ID] }) },
			Counts:    func(r record.Record) bool { return n.passes == nil || !n.passes(r) },
		})
		n.book = purchase.NewBook(n.asker.Engine(), minter, n.clock, purchase.Options{})
		t.Cleanup(n.asker.Close)
		t.Cleanup(n.book.Close)
		w.nodes[name] = n
	}
	return w
}

func is(n *node, f func() bool) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return f()
}

func (n *node) set(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

// questions returns how many reached a node since the last call; it is for a
// bubble, where it waits for those that nobody waits for any more.
func (n *node) questions() int {
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	took := n.took
	n.took = 0
	return took
}

func (n *node) others() []Node {
	var list []Node
	for _, other := range n.town.nodes {
		if other != n {
			list = append(list, other.Node)
		}
	}
	return list
}

func (n *node) complete(source string) (time.Time, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	at, ok := n.covered[source]
	return at, ok
}

// Do calls another node of the town.
func (n *node) Do(r *http.Request) (*http.Response, error) {
	to := n.town.nodes[r.URL.Host]
	to.mu.Lock()
	state := to.state
	to.took++
	to.mu.Unlock()
	if state.hangs {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	select {
	case <-time.After(state.wait):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if state.err != nil {
		return nil, state.err
	}
	w := httptest.NewRecorder()
	if state.code != 0 {
		w.WriteHeader(state.code)
	}
	if state.body != "" {
		_, _ = io.WriteString(w, state.body)
	} else if state.code == 0 {
		to.asker.ServeHTTP(w, r.WithContext(context.WithoutCancel(r.Context())))
	}
	return w.Result(), nil
}

func (n *node) buy() purchase.Token {
	n.town.t.Helper()
	h, err := contentHash(1)
	require.NoError(n.town.t, err)
	p, _, err := n.book.Make(context.Background(), purchase.Spec{Hash: h, Ext: "mp4", Life: time.Hour})
	require.NoError(n.town.t, err)
	return p.Token
}

// invent returns a token that this node might have made, and did not.
func (n *node) invent() purchase.Token {
	n.town.t.Helper()
	zone := byte('z')
	if len(n.Zones) > 0 {
		zone = n.Zones[0][0]
	}
	minter, err := purchase.NewMinter(zone, bytes.Repeat([]byte("k"), 32), n.clock)
	require.NoError(n.town.t, err)
	return minter.Mint()
}

// find looks a purchase up and returns how long that took.
func (n *node) find(token purchase.Token) (time.Duration, error) {
	began := time.Now()
	p, err := n.book.Find(context.Background(), token)
	if err == nil && p.Token != token {
		err = fmt.Errorf("found %s", p.Token.Short())
	}
	return time.Since(began), err
}

func newEngine(source string) *recordtest.Memory { return recordtest.NewMemoryOf(source, nil) }
