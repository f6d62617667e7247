package delivery

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/record"
)

// asker stands for the other nodes.
type asker struct {
	asked  []content.Hash
	answer func(content.Hash) error
}

func (a *asker) content(_ context.Context, h content.Hash) error {
	a.asked = append(a.asked, h)
	if a.answer == nil {
		return nil
	}
	return a.answer(h)
}

func unsure() error {
	f := handlers.Faultf(handlers.Unavailable, "A node does not answer").Because(record.ErrUnavailable)
	f.Retry = time.Second
	return f
}

func busy() error {
	f := handlers.Faultf(handlers.TooMany, "Too much is asked").Because(errors.New("too many questions"))
	f.Retry = time.Second
	return f
}

// Other nodes are asked before a content is told to be unknown, and only then.
func TestOthersAreAsked(t *testing.T) {
	w := newWorld(t, "om101")
	nodes := &asker{}
	w.deps.Content = nodes.content
	h := New(w.deps, Settings{})
	film := w.put("a film", "txt", "om101")
	elsewhere := w.put("elsewhere", "txt")
	for _, path := range []string{"/" + string(w.buy(film, "txt")) + "/x.txt", "/static/" + film.String() + "/x.txt"} {
		require.Equal(t, 200, ask(h, "GET", path).Code)
	}
	require.Empty(t, nodes.asked, "what is known here costs no question")

	bought := w.buy(elsewhere, "txt")
	for _, path := range []string{"/" + string(bought) + "/x.txt", "/static/" + elsewhere.String() + "/x.txt"} {
		for _, c := range []struct {
			answer func(content.Hash) error
			status int
		}{
			{nil, 404},
			{func(content.Hash) error { return unsure() }, 503},
			{func(content.Hash) error { return busy() }, 429},
			{func(content.Hash) error { return context.DeadlineExceeded }, 503},
		} {
			nodes.asked, nodes.answer = nil, c.answer
			rec := ask(h, "GET", path)
			require.Equal(t, c.status, rec.Code, path)
			require.Equal(t, []content.Hash{elsewhere}, nodes.asked)
			require.Equal(t, c.status != 404, rec.Header().Get("Retry-After") != "")
			require.NotContains(t, rec.Body.String(), string(bought))
		}
	}
	nodes.answer = func(h content.Hash) error { // the answer brings the record
		require.Equal(t, elsewhere, h)
		w.put("elsewhere", "txt", "om101")
		return nil
	}
	rec := ask(h, "GET", "/"+string(bought)+"/x.txt")
	require.Equal(t, 200, rec.Code)
	require.Equal(t, "elsewhere", rec.Body.String())
}

// Nobody is asked about what is blocked, or was removed after it was bought.
func TestOthersAreNotAsked(t *testing.T) {
	w := newWorld(t, "om101")
	nodes := &asker{}
	w.deps.Content = nodes.content
	h := New(w.deps, Settings{})
	blocked, gone := w.put("blocked", "txt"), w.put("gone", "txt", "om101")
	w.block(blocked)
	for _, path := range []string{"/" + string(w.buy(blocked, "txt")) + "/x.txt", "/static/" + blocked.String() + "/x.txt"} {
		require.Equal(t, 403, ask(h, "GET", path).Code)
	}
	old := w.buy(gone, "txt")
	_, err := w.index.Remove(t.Context(), gone)
	require.NoError(t, err)
	require.Equal(t, 404, ask(h, "GET", "/"+string(old)+"/x.txt").Code)
	require.Equal(t, 404, ask(h, "GET", "/a20261120a7ch2nx9djn/x.txt").Code)
	require.Equal(t, 403, ask(h, "GET", "/static/"+blocked.String()+"/x.mp4").Code)
	require.Empty(t, nodes.asked)
	// Bought after the removal, it may have been uploaded again elsewhere.
	require.Equal(t, 404, ask(h, "GET", "/"+string(w.buy(gone, "txt"))+"/x.txt").Code)
	require.Equal(t, []content.Hash{gone}, nodes.asked)
}

// Invented hashes cost no question once the client's misses are spent.
func TestInventedHashesAreBounded(t *testing.T) {
	w := newWorld(t)
	nodes := &asker{}
	w.deps.Content = nodes.content
	w.deps.Misses = NewLimiter(3, w.clock.Wall)
	h := New(w.deps, Settings{})
	path := "/static/" + strings.Repeat("4e", 20) + "/x.txt"
	for range 3 {
		require.Equal(t, 404, ask(h, "GET", path).Code)
	}
	for range 3 {
		rec := ask(h, "GET", path)
		require.Equal(t, 429, rec.Code)
		require.NotEmpty(t, rec.Header().Get("Retry-After"))
	}
	require.Len(t, nodes.asked, 3)
	w.ahead.Add(int64(missWindow))
	require.Equal(t, 404, ask(h, "GET", path).Code)
	require.Len(t, nodes.asked, 4)
}

// What asking for a purchase came to is told as it is, and never as a 404.
func TestPurchaseFaultOfAsking(t *testing.T) {
	w := newWorld(t)
	c := newCore(w.deps, Settings{})
	require.Equal(t, handlers.TooMany, c.purchaseFault(nil, busy()).Code)
	require.Equal(t, handlers.Unavailable, c.purchaseFault(nil, unsure()).Code)
	require.Equal(t, "A node does not answer", c.purchaseFault(nil, unsure()).Message)
}

// BenchmarkAdmit is what it costs to find a purchase and its content in memory,
// with nodes to ask: the same as without.
func BenchmarkAdmit(b *testing.B) {
	w := newWorld(b)
	clone := record.Change{Member: "m", Value: []byte(`{"ext":"bin","size":1,"stored":1,"kept":"1"}`)}
	h := w.put("x", "bin")
	_, err := w.engine.Update(b.Context(), record.Inventory, h.String(), record.Condition{}, clone)
	require.NoError(b, err)
	token := w.buy(h, "bin")
	w.deps.Content = (&asker{answer: func(content.Hash) error { return errors.New("nobody asks") }}).content
	w.deps.Metrics = nil
	c := newCore(w.deps, Settings{})
	r := httptest.NewRequest("GET", "/"+string(token)+"/x.bin", nil)
	b.ReportAllocs()
	for b.Loop() {
		g, err := c.admit(r, token, true)
		if err != nil || len(g.placement.Clones) != 1 {
			b.Fatal(err)
		}
	}
}
