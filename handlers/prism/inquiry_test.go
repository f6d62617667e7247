package prism

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/ask"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

var errBusy = errors.New("too many questions")

// others stands for the other nodes.
type others struct {
	engine *recordtest.Memory
	known  map[content.Hash]int // from the so-manieth question on
	err    error
	wait   time.Duration
	single int
	many   []int // how many contents each question was about
}

func (o *others) Content(ctx context.Context, h content.Hash) error {
	o.single++
	return o.answer(ctx, h)
}

func (o *others) Contents(ctx context.Context, hashes []content.Hash) error {
	o.many = append(o.many, len(hashes))
	return o.answer(ctx, hashes...)
}

func (o *others) answer(ctx context.Context, hashes ...content.Hash) error {
	select {
	case <-time.After(o.wait):
	case <-ctx.Done():
		return ctx.Err()
	}
	for _, h := range hashes {
		if from, ok := o.known[h]; ok && o.single+len(o.many) >= from {
			o.engine.Inject(record.Record{Topic: record.Inventory, Key: h.String(), Member: "s", Source: "b", Time: 1, Revision: 1,
				Value: []byte(`{"ext":"mp4","size":1,"stored":1,"kept":"1"}`)})
		}
	}
	return o.err
}

// newInquirer returns a handler with as much as asking needs.
func newInquirer(t *testing.T) (*Handler, *others) {
	o := &others{engine: recordtest.NewMemory(nil), known: make(map[content.Hash]int)}
	index := inventory.NewIndex(o.engine, record.NewClock(nil), 10_000)
	t.Cleanup(index.Close)
	return &Handler{Deps: Deps{Index: index, Content: o.Content, Contents: o.Contents}}, o
}

func hashOf(t testing.TB, n int) content.Hash {
	h, err := content.ParseHash(fmt.Sprintf("%040x", n))
	require.NoError(t, err)
	return h
}

func query(timeout, retries int64) *handlers.HashQuery {
	return &handlers.HashQuery{Timeout: handlers.Int{Value: timeout}, Retries: handlers.Int{Value: retries}}
}

func TestInquiry(t *testing.T) {
	for _, c := range []struct {
		name             string
		timeout, retries int64
		from             int // the question that finds it; 0: none does
		err              error
		wait             time.Duration
		found            bool
		want             error
		questions        int
		took             time.Duration
	}{
		{name: "found at once", from: 1, found: true, questions: 1},
		{name: "nobody has it", questions: 1},
		{name: "once, unless it is wanted", from: 2, questions: 1},
		{name: "asked again", retries: 2, from: 2, found: true, questions: 2, took: askPause},
		{name: "asked again in vain", retries: 3, questions: 4, took: 3 * askPause},
		{name: "at most so often", retries: 1 << 40, questions: 1 + askAgain, took: askAgain * askPause},
		{name: "until the time is over", retries: 10, timeout: 600, questions: 3, took: 2 * askPause},
		{name: "a slow answer is not waited for", timeout: 100, wait: time.Second, want: record.ErrUnavailable, questions: 1, took: 100 * time.Millisecond},
		{name: "a slow answer is, where there is time", timeout: 1500, wait: time.Second, from: 1, found: true, questions: 1, took: time.Second},
		{name: "not for ever", timeout: 1 << 40, wait: time.Hour, want: record.ErrUnavailable, questions: 1, took: askTime},
		{name: "who does not answer is away: what it holds can't be had", err: ask.ErrAway, questions: 1},
		{name: "somebody is not sure", err: ask.ErrUnsure, want: ask.ErrUnsure, questions: 1},
		{name: "nobody is ever sure", err: ask.ErrUnsure, retries: 2, want: ask.ErrUnsure, questions: 3, took: 2 * askPause},
		{name: "found though somebody is not sure", err: ask.ErrUnsure, retries: 2, from: 2, found: true, questions: 2, took: askPause},
		{name: "too many questions", err: errBusy, want: errBusy, questions: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, o := newInquirer(t)
				o.err, o.wait = c.err, c.wait
				if c.from > 0 {
					o.known[hashOf(t, 1)] = c.from
				}
				began := time.Now()
				found, err := h.inquire(query(c.timeout, c.retries)).places(t.Context(), []content.Hash{hashOf(t, 1)})
				require.ErrorIs(t, err, c.want)
				require.Equal(t, c.took, time.Since(began))
				require.Equal(t, c.questions, o.single+len(o.many))
				require.Equal(t, 1, o.single, "the first may share one with others")
				if err == nil {
					require.Equal(t, c.found, len(found[0].Clones) > 0)
				}
			})
		})
	}
}

// Many contents cost one question, about those that are not known here.
func TestInquiryAboutMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, o := newInquirer(t)
		o.known[hashOf(t, 1)] = 0
		require.NoError(t, h.Content(t.Context(), hashOf(t, 1)))
		o.single = 0
		o.known[hashOf(t, 2)], o.known[hashOf(t, 3)] = 1, 2
		hashes := []content.Hash{hashOf(t, 1), hashOf(t, 2), {}, hashOf(t, 3), hashOf(t, 4)}
		found, err := h.inquire(query(0, 5)).places(t.Context(), hashes)
		require.NoError(t, err)
		require.Equal(t, []int{3, 2, 1, 1, 1, 1}, o.many)
		require.Zero(t, o.single)
		require.Nil(t, found[2])
		for i, held := range []bool{true, true, false, true, false} {
			require.True(t, i == 2 || held == (len(found[i].Clones) > 0), i)
		}
	})
}

// One request never asks for longer than it may, however many contents it is about.
func TestInquiryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, o := newInquirer(t)
		o.wait = 300 * time.Millisecond
		inquiry, began := h.inquire(query(1000, 0)), time.Now()
		for i := range 20 {
			_, err := inquiry.places(t.Context(), []content.Hash{hashOf(t, 2*i), hashOf(t, 2*i+1)})
			if i < 3 {
				require.NoError(t, err)
				continue
			}
			require.ErrorIs(t, err, record.ErrUnavailable, "what was not asked is not known")
		}
		require.Equal(t, time.Second, time.Since(began))
		require.Len(t, o.many, 4)

		o.many = nil
		inquiry = h.inquire(query(0, 0))
		for i := range 20 { // which take longer than one question may
			_, err := inquiry.places(t.Context(), []content.Hash{hashOf(t, 2*i), hashOf(t, 2*i+1)})
			require.NoError(t, err)
		}
		require.Len(t, o.many, 20)
	})
}

func TestInquiryWithoutOthers(t *testing.T) {
	h, o := newInquirer(t)
	h.Content, h.Contents = nil, nil
	found, err := h.inquire(query(5000, 10)).places(t.Context(), []content.Hash{hashOf(t, 1)})
	require.NoError(t, err)
	require.Empty(t, found[0].Clones)
	o.engine.Fail(record.ErrUnavailable)
	_, err = h.inquire(query(0, 0)).places(t.Context(), []content.Hash{hashOf(t, 2)})
	require.ErrorIs(t, err, record.ErrUnavailable)
}
