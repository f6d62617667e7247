package upload

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
)

// farStore is a store behind a network: what it waits for can be interrupted.
type farStore struct {
	*fakeStore
	freezes string // where its sinks stop answering: "write", "end" or "commit"
	causes  []error
}

func (s *farStore) Create(ctx context.Context, size int64, t content.Type) (Sink, error) {
	inner, err := s.fakeStore.Create(ctx, size, t)
	return &farSink{Sink: inner, store: s, cut: make(chan struct{})}, err
}

type farSink struct {
	Sink
	store *farStore
	once  sync.Once
	cut   chan struct{}
	ended bool
}

var errCut = errors.New("cut")

func (s *farSink) answers(step string) error {
	if s.store.freezes == step {
		<-s.cut
	}
	select {
	case <-s.cut:
		return errCut
	default:
		return nil
	}
}

func (s *farSink) Write(p []byte) (int, error) {
	if err := s.answers("write"); err != nil {
		return 0, err
	}
	return s.Sink.Write(p)
}

func (s *farSink) End() error {
	s.ended = true
	return s.answers("end")
}

func (s *farSink) Commit(ctx context.Context, h content.Hash, ext string) (inventory.Clone, error) {
	if !s.ended {
		return inventory.Clone{}, errors.New("commit before the end")
	}
	if err := s.answers("commit"); err != nil {
		s.Sink.Abort()
		return inventory.Clone{}, err
	}
	return s.Sink.Commit(ctx, h, ext)
}

func (s *farSink) Interrupt(cause error) {
	s.once.Do(func() {
		s.store.causes = append(s.store.causes, cause)
		close(s.cut)
	})
}

func far(id, freezes string) *farStore {
	return &farStore{fakeStore: newStore(id), freezes: freezes}
}

func farUploader(t *testing.T, stores ...Store) *Uploader {
	t.Helper()
	u := New(noIndex{}, func() []Store { return stores }, zap.NewNop())
	t.Cleanup(func() { require.NoError(t, u.Close(context.Background())) })
	return u
}

// A store elsewhere that stops answering anywhere is left behind in time, and
// nothing of it goes on.
func TestFarStoreFreezes(t *testing.T) {
	body := randomBytes(40 * bufferSize)
	for step, limit := range map[string]time.Duration{"write": stallAfter, "end": stallAfter, "commit": commitBase} {
		synctest.Test(t, func(t *testing.T) {
			frozen, good, spare := far("frozen", step), far("good", ""), newStore("spare")
			u := farUploader(t, frozen, good, spare)
			began := time.Now()
			res, err := u.Upload(t.Context(), Request{Body: bytes.NewReader(body), Size: int64(len(body)), Copies: 3})
			require.NoError(t, err)
			require.Equal(t, 2, res.Durability, step)
			require.LessOrEqual(t, time.Since(began), limit+2*sweepEvery)
			require.NoError(t, u.Close(t.Context()), "no writer goes on")
			require.Equal(t, []error{ErrStalled}, frozen.causes)
			require.Empty(t, good.causes)
			requireNothingOpen(t, frozen.fakeStore, good.fakeStore, spare)
		})
	}
}

// With nobody to compare it with, it is given a minute.
func TestOnlyFarStoreFreezes(t *testing.T) {
	for _, step := range []string{"write", "end"} {
		synctest.Test(t, func(t *testing.T) {
			frozen := far("frozen", step)
			u := farUploader(t, frozen)
			began := time.Now()
			_, err := u.Upload(t.Context(), Request{Body: bytes.NewReader(randomBytes(9 * bufferSize)), Size: -1})
			require.ErrorIs(t, err, ErrStalled)
			require.LessOrEqual(t, time.Since(began), hangAfter+stallAfter)
			require.NoError(t, u.Close(t.Context()))
			requireNothingOpen(t, frozen.fakeStore)
		})
	}
}

// Where the client goes, a store that does not answer is not waited for.
func TestClientGoesWhileAFarStoreIsFrozen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		frozen, good := far("frozen", "write"), far("good", "")
		u := farUploader(t, frozen, good)
		in, out := io.Pipe()
		go func() {
			_, _ = out.Write(make([]byte, bufferSize))
			_ = out.CloseWithError(io.ErrUnexpectedEOF)
		}()
		began := time.Now()
		_, err := u.Upload(t.Context(), Request{Body: in, Size: -1})
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.Zero(t, time.Since(began))
		require.NoError(t, u.Close(t.Context()))
		require.NotErrorIs(t, frozen.causes[0], ErrStalled, "it is not to blame")
		requireNothingOpen(t, frozen.fakeStore, good.fakeStore)
	})
}

// Where a store fails, those of its node are tried last.
func TestNodesThatFailAreAvoided(t *testing.T) {
	for range 20 {
		a, b, c, d := newStore("a"), newStore("b"), newStore("c"), newStore("d")
		a.target.Node, b.target.Node, c.target.Node = "n", "n", "n"
		for _, s := range []*fakeStore{a, b, c} {
			s.writeErr = errCut
			s.target.Group = "g"
		}
		d.target.Free = 1 // of all stores the least likely
		e := newStore("e")
		res, err := newUploader(t, a, b, c, d, e).Upload(t.Context(), Request{Body: bytes.NewReader([]byte("x")), Size: 1})
		require.NoError(t, err)
		require.Equal(t, 2, res.Durability)
		_, aborted, _ := a.counts()
		_, more, _ := b.counts()
		_, most, _ := c.counts()
		require.LessOrEqual(t, aborted+more+most, 1)
	}
}

// noIndex knows of nothing.
type noIndex struct{}

func (noIndex) Find(context.Context, content.Hash) (*inventory.Placement, error) {
	return &inventory.Placement{}, nil
}
