package journal

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
)

// link is one node that follows another in one process.
type link struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
	mu     sync.Mutex
	err    error // of Follow
	served error // of Stream
}

// follow has a journal follow a source at a server, named after its source,
// as two nodes do. It ends when cut is called, or by itself.
func follow(to, server *Journal, source string, claimed func(uint64)) *link {
	ctx, cancel := context.WithCancel(context.Background())
	l := &link{cancel: cancel}
	r, w := io.Pipe()
	since := to.Since(source, server.Source())
	l.done.Go(func() {
		err := server.Stream(ctx, source, since, w, nil)
		l.mu.Lock()
		l.served = err
		l.mu.Unlock()
		_ = w.CloseWithError(err)
	})
	l.done.Go(func() {
		err := to.Follow(ctx, source, server.Source(), r, claimed)
		l.mu.Lock()
		l.err = err
		l.mu.Unlock()
		_ = r.CloseWithError(io.ErrClosedPipe)
	})
	return l
}

// cut ends both sides, and waits for them.
func (l *link) cut() {
	l.cancel()
	l.done.Wait()
}

func (r *running) follow(server *running, source string) *link {
	l := follow(r.Journal, server.Journal, source, nil)
	r.tb.Cleanup(l.cut)
	return l
}

// reaches waits until the claim on a source has come to a revision.
func (r *running) reaches(source string, revision uint64) {
	r.tb.Helper()
	require.Eventually(r.tb, func() bool { return r.Claims()[source] >= revision }, 30*time.Second, time.Millisecond)
}

// same checks that two journals hold the same.
func same(tb testing.TB, a, b *running) {
	tb.Helper()
	require.Equal(tb, a.Digests(), b.Digests())
	require.Equal(tb, bySource(a.walk()), bySource(b.walk()))
}

func bySource(records []record.Record) map[string][]record.Record {
	sources := make(map[string][]record.Record)
	for _, r := range records {
		sources[r.Source] = append(sources[r.Source], r)
	}
	return sources
}

// wire gives the bytes of a stream up to its first mark, and what was asked.
func wire(tb testing.TB, server *running, source string, since uint64) []byte {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var stream []byte
	err := server.Stream(ctx, source, since, writerFunc(func(b []byte) (int, error) {
		stream = append(stream, b...)
		return len(b), nil
	}), func() error { return io.ErrClosedPipe })
	require.ErrorIs(tb, err, io.ErrClosedPipe)
	return stream
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

var errCut = errors.New("the line was cut")
