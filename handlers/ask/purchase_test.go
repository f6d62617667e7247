package ask

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/purchase"
	"github.com/ooseio/oose/record"
)

func contentHash(n int) (content.Hash, error) { return content.ParseHash(fmt.Sprintf("%040x", n)) }

// prisms is a town of prisms, each "<name>=<zones>".
func prisms(t *testing.T, specs ...string) *town {
	var nodes []Node
	for _, spec := range specs {
		name, zones, _ := strings.Cut(spec, "=")
		nodes = append(nodes, Node{ID: name, Zones: strings.Split(zones, "")})
	}
	return newTown(t, nodes...)
}

// A purchase made at one prism is found by all others at once, with one
// question, and needs none afterwards.
func TestPurchaseMadeElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := prisms(t, "a=x", "b=x", "c=y")
		a, b, c := w.nodes["a"], w.nodes["b"], w.nodes["c"]
		token := a.buy()
		for _, n := range []*node{b, c} {
			for range 3 {
				took, err := n.find(token)
				require.NoError(t, err)
				require.Zero(t, took)
			}
		}
		require.Equal(t, 2, a.questions(), "one by each of the others")
		require.Equal(t, 1, b.questions(), "by c: b is of the zone")
		require.Zero(t, c.questions(), "another zone is not asked where the makers answer")

		require.NoError(t, a.book.Revoke(t.Context(), token))
		_, err := b.find(token)
		require.NoError(t, err, "what is known is known by the journal from now on")
	})
}

// A revocation comes with what is asked for, and so do uses.
func TestAnswerIsWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := prisms(t, "a=x", "b=y")
		a, b := w.nodes["a"], w.nodes["b"]
		token := a.buy()
		_, err := a.engine.Update(t.Context(), record.Use, string(token), record.Condition{}, record.Change{Value: []byte(`{"count":3}`), Expires: 1 << 50})
		require.NoError(t, err)
		require.NoError(t, a.book.Revoke(t.Context(), token))
		_, err = b.find(token)
		require.ErrorIs(t, err, purchase.ErrRevoked)
		uses, err := b.engine.Get(t.Context(), record.Use, string(token))
		require.NoError(t, err)
		require.Len(t, uses, 1)
		require.Equal(t, "source-a", uses[0].Source)
	})
}

// What each state of the maker means for a token that nobody here knows.
func TestUnknownPurchase(t *testing.T) {
	day := 24 * time.Hour
	for _, c := range []struct {
		name   string
		maker  func(*node)
		self   func(*node)
		want   error
		within time.Duration
		asked  int // questions to the prism of another zone
	}{
		{name: "the maker says no", want: purchase.ErrUnknown},
		{name: "down", maker: func(n *node) { n.state.err = errDown }, want: ErrUnsure, asked: 1},
		{name: "no answer", maker: func(n *node) { n.state.hangs = true }, want: ErrUnsure, within: answerTime, asked: 1},
		{name: "catching up", maker: func(n *node) { n.late = true }, want: ErrUnsure, asked: 1},
		{name: "late no", maker: func(n *node) { n.state.wait = time.Second }, want: purchase.ErrUnknown, within: time.Second, asked: 1},
		{name: "soon no", maker: func(n *node) { n.state.wait = 100 * time.Millisecond }, want: purchase.ErrUnknown, within: 100 * time.Millisecond},
		{name: "too late", maker: func(n *node) { n.state.wait = time.Minute }, want: ErrUnsure, within: answerTime, asked: 1},
		{name: "garbage", maker: func(n *node) { n.state.body = `{"records":[` }, want: ErrUnsure, asked: 1},
		{name: "an error", maker: func(n *node) { n.state.code = 503 }, want: ErrUnsure, asked: 1},
		{name: "this node catches up", self: func(n *node) { n.late = true }, want: ErrUnsure, asked: 1},
		{
			name: "down, but all of that day is known", maker: func(n *node) { n.state.err = errDown },
			self: func(n *node) { n.covered["source-a"] = time.Now().Add(day + 2*time.Minute) }, want: purchase.ErrUnknown,
		},
		{
			name: "silent, but all of that day is known", maker: func(n *node) { n.state.hangs = true },
			self: func(n *node) { n.covered["source-a"] = time.Now().Add(day + 2*time.Minute) }, want: purchase.ErrUnknown, within: patience,
		},
		{
			name: "down, and known up to within that day", maker: func(n *node) { n.state.err = errDown },
			self: func(n *node) { n.covered["source-a"] = time.Now().Add(day - time.Minute) }, want: ErrUnsure, asked: 1,
		},
		{
			name: "catching up, with another source", maker: func(n *node) { n.late = true },
			self: func(n *node) { n.covered["source-a"] = time.Now().Add(2 * day) }, want: ErrUnsure, asked: 1,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := prisms(t, "a=x", "b=y", "c=w")
				a, b, other := w.nodes["a"], w.nodes["b"], w.nodes["c"]
				if c.maker != nil {
					a.set(func() { c.maker(a) })
				}
				if c.self != nil {
					b.set(func() { c.self(b) })
				}
				took, err := b.find(a.invent())
				require.ErrorIs(t, err, c.want)
				require.Equal(t, c.within, took)
				require.Equal(t, c.asked, other.questions())
				if errors.Is(c.want, ErrUnsure) {
					require.ErrorIs(t, err, record.ErrUnavailable)
					require.NotErrorIs(t, err, purchase.ErrUnknown, "never a false no")
					var f *handlers.Fault
					require.ErrorAs(t, err, &f)
					require.Equal(t, 503, f.Code.Status(false))
					require.Positive(t, f.Retry)
				}
			})
		})
	}
}

// While the maker is away, another prism that has it is as good.
func TestFoundAtAnother(t *testing.T) {
	for name, c := range map[string]struct {
		state state
		took  time.Duration
	}{"down": {state{err: errDown}, 0}, "silent": {state{hangs: true}, patience}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := prisms(t, "a=x", "b=y", "c=w")
				token := w.nodes["a"].buy()
				_, err := w.nodes["b"].find(token)
				require.NoError(t, err)
				w.nodes["a"].set(func() { w.nodes["a"].state = c.state })
				took, err := w.nodes["c"].find(token)
				require.NoError(t, err)
				require.Equal(t, c.took, took)
			})
		})
	}
}

// A node that lost its database is a maker that can't tell until it has caught up.
func TestOwnPurchaseAfterLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := prisms(t, "a=x", "b=y")
		a, b := w.nodes["a"], w.nodes["b"]
		token := b.invent()
		took, err := b.find(token)
		require.ErrorIs(t, err, purchase.ErrUnknown, "it alone makes tokens of this zone")
		require.Zero(t, took)
		require.Zero(t, a.questions())

		value := []byte(`{"hash":"` + strings.Repeat("0", 40) + `","ext":"mp4","made":"1"}`)
		a.engine.Inject(record.Record{Topic: record.Purchase, Key: string(token), Source: "source-b-before", Time: 1, Revision: 1, Expires: 1 << 50, Value: value})
		b.set(func() { b.late = true })
		_, err = b.find(token)
		require.NoError(t, err, "the others have what it lost")
		_, err = b.find(b.invent())
		require.ErrorIs(t, err, ErrUnsure)
	})
}

// What this node itself wrote and does not have is not a no, and is not taken
// from others: the journal goes on as a new source first.
func TestOwnSourceElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := prisms(t, "a=x", "b=x")
		a, b := w.nodes["a"], w.nodes["b"]
		token := b.invent()
		a.engine.Inject(record.Record{Topic: record.Purchase, Key: string(token), Source: "source-b", Time: 1, Revision: 900, Expires: 1 << 50, Value: []byte(`{}`)})
		_, err := b.find(token)
		require.ErrorIs(t, err, ErrUnsure)
		versions, err := b.engine.Get(t.Context(), record.Purchase, string(token))
		require.NoError(t, err)
		require.Empty(t, versions)
	})
}

func TestInventedTokensCostNoQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := prisms(t, "a=x", "b=y")
		a, b := w.nodes["a"], w.nodes["b"]
		good := string(a.invent())
		wrong := []byte(good)
		wrong[19] = "AB"[btoi(wrong[19] == 'A')]
		tomorrow := strings.Replace(good, time.Now().UTC().Format("20060102"), time.Now().UTC().Add(48*time.Hour).Format("20060102"), 1)
		nobody, err := purchase.NewMinter('q', bytes.Repeat([]byte("k"), 32), b.clock) // no prism makes tokens of this zone
		require.NoError(t, err)
		for _, token := range []string{string(wrong), tomorrow, string(nobody.Mint()), "q" + good[1:], "", "x"} {
			_, err := b.find(purchase.Token(token))
			require.ErrorIs(t, err, purchase.ErrUnknown, token)
		}
		require.Zero(t, a.questions())
		// ... but what is found is served, whatever its check says.
		b.engine.Inject(record.Record{Topic: record.Purchase, Key: string(wrong), Source: "import", Time: 1, Revision: 1, Expires: 1 << 50,
			Value: []byte(`{"hash":"` + strings.Repeat("0", 40) + `","ext":"mp4","made":"1"}`)})
		_, err = b.find(purchase.Token(wrong))
		require.NoError(t, err)
	})
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// All who wait for one token cost one question; a no is kept for two seconds,
// unless the token is made meanwhile.
func TestQuestionsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := prisms(t, "a=x", "b=y")
		a, b := w.nodes["a"], w.nodes["b"]
		token := a.invent()
		a.set(func() { a.state.wait = 100 * time.Millisecond })
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				_, err := b.find(token)
				if !errors.Is(err, purchase.ErrUnknown) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		require.Equal(t, 1, a.questions())

		time.Sleep(deniedTime - time.Millisecond)
		_, err := b.find(token)
		require.ErrorIs(t, err, purchase.ErrUnknown)
		require.Zero(t, a.questions(), "the no is still kept")
		time.Sleep(time.Millisecond)
		_, err = b.find(token)
		require.ErrorIs(t, err, purchase.ErrUnknown)
		require.Equal(t, 1, a.questions())

		b.engine.Inject(purchaseRecord(token))
		_, err = b.find(token)
		require.NoError(t, err)
		require.Empty(t, b.asker.denied, "a commit ends the no")
		require.Zero(t, b.asker.watched.Load())

		for range 10 { // and so does time, without anyone's asking
			_, err := b.find(a.invent())
			require.ErrorIs(t, err, purchase.ErrUnknown)
		}
		require.Len(t, b.asker.denied, 10)
		time.Sleep(2 * deniedTime)
		b.engine.Inject(purchaseRecord(a.invent()))
		require.Empty(t, b.asker.denied)
		require.Zero(t, b.asker.watched.Load())
	})
}

func purchaseRecord(token purchase.Token) record.Record {
	return record.Record{
		Topic: record.Purchase, Key: string(token), Source: "source-a", Time: 1, Revision: 1, Expires: 1 << 50,
		Value: []byte(`{"hash":"` + strings.Repeat("0", 40) + `","ext":"mp4","made":"1"}`),
	}
}

// The journal may bring what is asked for before the answer comes.
func TestCommitEndsAQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := prisms(t, "a=x", "b=y")
		a, b := w.nodes["a"], w.nodes["b"]
		a.set(func() { a.state.hangs = true })
		token := a.invent()
		go func() {
			time.Sleep(70 * time.Millisecond)
			b.engine.Inject(purchaseRecord(token))
		}()
		took, err := b.find(token)
		require.NoError(t, err)
		require.Equal(t, 70*time.Millisecond, took)
	})
}

func TestOneWhoLeavesDoesNotStopTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := prisms(t, "a=x", "b=y")
		a, b := w.nodes["a"], w.nodes["b"]
		token := a.buy()
		a.set(func() { a.state.wait = 200 * time.Millisecond })
		first := make(chan error, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		go func() {
			_, err := b.book.Find(ctx, token)
			first <- err
		}()
		synctest.Wait()
		took, err := b.find(token)
		require.NoError(t, err)
		require.Equal(t, 200*time.Millisecond, took)
		require.ErrorIs(t, <-first, context.DeadlineExceeded)
		require.Equal(t, 1, a.questions())
	})
}

func TestQuestionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := prisms(t, "a=x", "b=y")
		a, b := w.nodes["a"], w.nodes["b"]
		a.set(func() { a.state.hangs = true })
		var all sync.WaitGroup
		for i := range maxOthers {
			all.Go(func() { _, _ = b.asker.Engine().Get(t.Context(), record.User, fmt.Sprint("user", i)) })
		}
		synctest.Wait()
		_, err := b.asker.Engine().Get(t.Context(), record.User, "one more")
		require.ErrorIs(t, err, ErrBusy)
		_, err = b.asker.Engine().Get(t.Context(), record.Session, "one more")
		require.ErrorIs(t, err, ErrBusy)
		for range maxOpen - maxOthers {
			token := a.invent()
			all.Go(func() { _, _ = b.find(token) })
		}
		synctest.Wait()
		require.Len(t, b.asker.open, maxOpen)
		_, err = b.find(a.invent())
		require.ErrorIs(t, err, ErrBusy)
		require.NotErrorIs(t, err, purchase.ErrUnknown)
		var f *handlers.Fault
		require.ErrorAs(t, err, &f)
		require.Equal(t, 429, f.Code.Status(true))
		require.Equal(t, time.Second, f.Retry)
		all.Wait()
		require.Empty(t, b.asker.open)
		require.Empty(t, b.asker.asked)
	})
}

// A node that did not answer is left alone for a second.
func TestSilentNodeIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := prisms(t, "a=x", "b=y")
		a, b := w.nodes["a"], w.nodes["b"]
		a.set(func() { a.state.hangs = true })
		took, err := b.find(a.invent())
		require.ErrorIs(t, err, ErrUnsure)
		require.Equal(t, answerTime, took)
		require.Equal(t, 1, a.questions())
		took, err = b.find(a.invent())
		require.ErrorIs(t, err, ErrUnsure)
		require.Zero(t, took)
		require.Zero(t, a.questions())

		token := a.buy()
		a.set(func() { a.state = state{} })
		time.Sleep(silentTime)
		_, err = b.find(token)
		require.NoError(t, err)
	})
}

func TestCloseEndsQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := prisms(t, "a=x", "b=y")
		a, b := w.nodes["a"], w.nodes["b"]
		a.set(func() { a.state.hangs = true })
		ended := make(chan error, 1)
		go func() {
			_, err := b.find(a.invent())
			ended <- err
		}()
		synctest.Wait()
		began := time.Now()
		b.asker.Close()
		require.ErrorIs(t, <-ended, ErrUnsure)
		_, err := b.find(a.invent())
		require.ErrorIs(t, err, ErrUnsure)
		require.Zero(t, time.Since(began))
		b.asker.Close() // twice does no harm
	})
}

// The engine is what it was in everything but Get.
func TestEngineIsPassedOn(t *testing.T) {
	w := prisms(t, "a=x")
	a := w.nodes["a"]
	e := a.asker.Engine()
	require.Equal(t, "source-a", e.Source())
	_, err := e.Get(t.Context(), record.Use, "nobody")
	require.NoError(t, err)
	a.engine.Fail(record.ErrUnavailable)
	_, err = e.Get(t.Context(), record.Purchase, "x")
	require.ErrorIs(t, err, record.ErrUnavailable)
	require.NotErrorIs(t, err, ErrUnsure)
}
