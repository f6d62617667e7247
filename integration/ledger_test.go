package integration

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// holding is what an entry of a ledger has come to.
type holding string

const (
	present  holding = "present"
	changing holding = "changing" // somebody is about to remove, block or spoil it
	removed  holding = "removed"
)

// entry is one content of a ledger, and its purchases.
type entry struct {
	hash   string
	body   []byte
	state  holding
	edits  int // of state and purchases: who asked meanwhile may have got either
	again  int // uploads of it that are under way: it does not change
	tokens []string
	ended  []ended
}

// ended is a purchase that was revoked.
type ended struct {
	token string
	at    time.Time // when that was acknowledged
}

// ledger is what nodes have acknowledged to clients.
type ledger struct {
	mu  sync.Mutex
	all []*entry
}

// sight is one purchase, as the ledger had it at a moment.
type sight struct {
	entry *entry
	edits int
	token string
	body  []byte    // what it is to give
	ended time.Time // zero: it is good
}

// uploaded writes a content down, with its first purchase.
func (l *ledger) uploaded(hash string, body []byte, token string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, &entry{hash: hash, body: body, state: present, tokens: []string{token}})
}

// bought writes a purchase down, of a content that may have changed meanwhile.
func (l *ledger) bought(s sight, token string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.entry.state == present && s.edits == s.entry.edits {
		s.entry.tokens = append(s.entry.tokens, token)
	}
}

// pick returns some purchase that is good.
func (l *ledger) pick(n uint64) (sight, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.all {
		e := l.all[(n+uint64(i))%uint64(len(l.all))]
		if e.state == present && len(e.tokens) > 0 {
			return sight{entry: e, edits: e.edits, token: e.tokens[n%uint64(len(e.tokens))], body: e.body}, true
		}
	}
	return sight{}, false
}

// pickEnded returns some purchase that was revoked.
func (l *ledger) pickEnded(n uint64) (sight, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.all {
		if e := l.all[(n+uint64(i))%uint64(len(l.all))]; len(e.ended) > 0 {
			one := e.ended[n%uint64(len(e.ended))]
			return sight{entry: e, edits: e.edits, token: one.token, ended: one.at}, true
		}
	}
	return sight{}, false
}

// holds tells whether nothing was done about a sight's content since.
func (l *ledger) holds(s sight) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return s.edits == s.entry.edits && s.entry.state != changing
}

// change marks some content as changing, one that suits.
func (l *ledger) change(n uint64, suits func(*entry) bool) (*entry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.all {
		e := l.all[(n+uint64(i))%uint64(len(l.all))]
		if e.state != changing && e.again == 0 && suits(e) {
			e.state = changing
			e.edits++
			return e, true
		}
	}
	return nil, false
}

// changed says how a change has ended: with these purchases in the place of
// those before, unless they are nil.
func (l *ledger) changed(e *entry, state holding, tokens []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.state, e.edits = state, e.edits+1
	if tokens != nil {
		e.tokens = tokens
	}
}

// contents returns those that are in a state.
func (l *ledger) contents(state holding) (list []*entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.all {
		if e.state == state {
			list = append(list, e)
		}
	}
	return list
}

// readBack asks a prism for all that was acknowledged, when nothing goes on any
// more, and tells what is not as it should be.
func (l *ledger) readBack(a *API, n *Node) (wrong []string, told string) {
	client := n.asks()
	var goods, ends, gone int
	add := func(err error) {
		if err != nil {
			wrong = append(wrong, err.Error())
		}
	}
	for _, e := range l.all {
		for _, end := range e.ended {
			ends++
			add((&question{node: n, path: "/" + end.token + "/f.bin"}).want(client, http.StatusNotFound, nil))
		}
		if e.state == removed {
			gone++
			var d Detail
			if status, err := a.post("/content/detail", map[string]string{"hash": e.hash}, &d); status != http.StatusNotFound && (err != nil || d.Exists) {
				wrong = append(wrong, fmt.Sprintf("%s was removed, and is said to be there: %+v (%v)", e.hash, d, err))
			}
			continue
		}
		if e.state != present {
			wrong = append(wrong, fmt.Sprintf("%s is still %s", e.hash, e.state))
		}
		for _, token := range e.tokens {
			goods++
			add((&question{node: n, path: "/" + token + "/f.bin"}).want(client, http.StatusOK, e.body))
		}
	}
	return wrong, fmt.Sprintf("%d contents, %d good purchases, %d revoked ones, %d contents removed", len(l.all), goods, ends, gone)
}

// pseudo returns n bytes that follow from a generator's state.
func pseudo(r *rand.Rand, n int) []byte {
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(r.Uint32())
	}
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(seed).Read(b)
	return b
}

// still tells whether a content is in a state.
func (l *ledger) still(e *entry, state holding) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return e.state == state
}
