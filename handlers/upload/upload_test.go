package upload

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeStore keeps clones in memory, and fails as it is told.
type fakeStore struct {
	id     string
	target inventory.Target

	readOnly  bool
	discard   bool // count the bytes, keep none
	createErr error
	writeErr  error         // after failAfter bytes
	failAfter int64         //
	hang      chan struct{} // writes wait for its end
	commitErr error
	hangSync  chan struct{} // commits wait for its end

	mu      sync.Mutex
	clones  map[content.Hash][]byte
	aborted int
	renewed int
	open    int // sinks that were neither committed nor aborted
}

func newStore(id string) *fakeStore {
	return &fakeStore{
		id: id, target: inventory.Target{ID: id, Node: "n-" + id, Free: 1 << 40},
		clones: map[content.Hash][]byte{},
	}
}

func (s *fakeStore) Target() inventory.Target { return s.target }
func (s *fakeStore) Readable() bool           { return true }
func (s *fakeStore) Writable() bool           { return !s.readOnly }

func (s *fakeStore) Create(context.Context, int64, content.Type) (Sink, error) {
	if s.readOnly {
		return nil, inventory.ErrReadOnly
	}
	if s.createErr != nil {
		return nil, s.createErr
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open++
	return &fakeSink{store: s}, nil
}

func (s *fakeStore) Open(_ context.Context, c inventory.Clone) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.clones[c.Hash]
	if !ok {
		return nil, inventory.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func (s *fakeStore) Renew(_ context.Context, h content.Hash) (inventory.Clone, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.clones[h]
	if ok {
		s.renewed++
	}
	return inventory.Clone{Hash: h, Store: s.id, Size: int64(len(b))}, ok, nil
}

func (s *fakeStore) has(h content.Hash) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.clones[h]
	return ok
}

func (s *fakeStore) counts() (open, aborted, renewed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open, s.aborted, s.renewed
}

type fakeSink struct {
	store *fakeStore
	buf   bytes.Buffer
	size  int64
}

func (s *fakeSink) Write(p []byte) (int, error) {
	if s.store.hang != nil {
		<-s.store.hang
	}
	if s.store.writeErr != nil && s.size+int64(len(p)) > s.store.failAfter {
		return 0, s.store.writeErr
	}
	s.size += int64(len(p))
	if !s.store.discard {
		s.buf.Write(p)
	}
	return len(p), nil
}

func (s *fakeSink) Commit(_ context.Context, h content.Hash, ext string) (inventory.Clone, error) {
	if s.store.hangSync != nil {
		<-s.store.hangSync
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	s.store.open--
	if s.store.commitErr != nil {
		return inventory.Clone{}, s.store.commitErr
	}
	s.store.clones[h] = s.buf.Bytes()
	return inventory.Clone{Hash: h, Store: s.store.id, Ext: ext, Size: s.size}, nil
}

func (s *fakeSink) Abort() {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	s.store.open--
	s.store.aborted++
}

// fakeIndex answers from the stores themselves.
type fakeIndex struct {
	stores  []*fakeStore
	blocked map[content.Hash]bool
}

func (x fakeIndex) Find(_ context.Context, h content.Hash) (*inventory.Placement, error) {
	p := &inventory.Placement{Blocked: x.blocked[h]}
	for _, s := range x.stores {
		if s.has(h) {
			p.Clones = append(p.Clones, inventory.Clone{Hash: h, Store: s.id})
		}
	}
	return p, nil
}

func newUploader(t *testing.T, stores ...*fakeStore) *Uploader {
	t.Helper()
	u := New(fakeIndex{stores: stores, blocked: map[content.Hash]bool{}}, func() []Store {
		var all []Store
		for _, s := range stores {
			all = append(all, s)
		}
		return all
	}, zap.NewNop())
	t.Cleanup(func() { require.NoError(t, u.Close(context.Background())) })
	return u
}

func sha1Of(b []byte) content.Hash {
	sum := sha1.Sum(b)
	h, _ := content.HashOf(content.SHA1, sum[:])
	return h
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

func requireNothingOpen(t *testing.T, stores ...*fakeStore) {
	t.Helper()
	for _, s := range stores {
		open, _, _ := s.counts()
		require.Zero(t, open, "store %s has an upload that nobody ended", s.id)
	}
}

func TestUploadMakesTheClonesThatAreWanted(t *testing.T) {
	for _, size := range []int{0, 1, bufferSize - 1, bufferSize, bufferSize + 1, 20*bufferSize + 7} {
		a, b, c := newStore("a"), newStore("b"), newStore("c")
		u := newUploader(t, a, b, c)
		body := randomBytes(size)
		res, err := u.Upload(context.Background(), Request{Body: bytes.NewReader(body), Size: int64(size), Ext: "mp4"})
		require.NoError(t, err)
		require.Equal(t, sha1Of(body), res.Hash)
		require.Equal(t, int64(size), res.Size)
		require.Equal(t, "mp4", res.Ext)
		require.Equal(t, 2, res.Durability)
		require.Len(t, res.Clones, 2)
		held := 0
		for _, s := range []*fakeStore{a, b, c} {
			if s.has(res.Hash) {
				held++
				require.True(t, bytes.Equal(body, s.clones[res.Hash]))
			}
		}
		require.Equal(t, 2, held)
		requireNothingOpen(t, a, b, c)
	}
}

func TestUploadEveryDigest(t *testing.T) {
	for _, typ := range content.Types() {
		a := newStore("a")
		u := newUploader(t, a)
		res, err := u.Upload(context.Background(), Request{Body: strings.NewReader("The fox is brown"), Size: -1, Type: typ})
		require.NoError(t, err)
		require.Equal(t, typ, res.Hash.Type())
		require.Equal(t, 1, res.Durability, "as many as there are stores for")
		want := inventory.NewHash(typ)
		want.Write([]byte("The fox is brown"))
		require.Equal(t, hex.EncodeToString(want.Sum(nil)), res.Hash.String())
	}
}

func TestUploadRefuses(t *testing.T) {
	fox := []byte("The fox is brown")
	other := sha1Of([]byte("another"))
	errDisk := errors.New("input/output error")
	tests := map[string]struct {
		req    Request
		stores func() []*fakeStore
		want   error
	}{
		"another digest than announced": {req: Request{Body: bytes.NewReader(fox), Size: 16, Want: other}, want: inventory.ErrMismatch},
		"larger than allowed, announced": {
			req: Request{Body: bytes.NewReader(fox), Size: 16, MaxSize: 15}, want: ErrTooLarge,
		},
		"larger than allowed, not announced": {
			req: Request{Body: bytes.NewReader(fox), Size: -1, MaxSize: 15}, want: ErrTooLarge,
		},
		"endless": {req: Request{Body: endless{}, Size: -1, MaxSize: 5 << 20}, want: ErrTooLarge},
		"shorter than announced": {
			req: Request{Body: bytes.NewReader(fox), Size: 17}, want: new(BodyError),
		},
		"broken off": {
			req:  Request{Body: io.MultiReader(bytes.NewReader(randomBytes(3*bufferSize)), failing{io.ErrUnexpectedEOF}), Size: -1},
			want: io.ErrUnexpectedEOF,
		},
		"no store": {req: Request{Body: bytes.NewReader(fox), Size: 16}, stores: func() []*fakeStore { return nil }, want: ErrNoStore},
		"read-only stores": {req: Request{Body: bytes.NewReader(fox), Size: 16}, stores: func() []*fakeStore {
			s := newStore("a")
			s.readOnly = true
			return []*fakeStore{s}
		}, want: inventory.ErrReadOnly},
		"no room": {req: Request{Body: bytes.NewReader(fox), Size: 16}, stores: func() []*fakeStore {
			s, r := newStore("a"), newStore("b")
			s.target.Free = 15
			r.readOnly = true
			return []*fakeStore{s, r}
		}, want: inventory.ErrFull},
		"no room, found when it begins": {req: Request{Body: bytes.NewReader(fox), Size: 16}, stores: func() []*fakeStore {
			s := newStore("a")
			s.createErr = inventory.ErrFull
			return []*fakeStore{s}
		}, want: inventory.ErrFull},
		"no room, found in the middle": {req: Request{Body: bytes.NewReader(randomBytes(9 << 20)), Size: -1}, stores: func() []*fakeStore {
			s, r := newStore("a"), newStore("b")
			s.writeErr, s.failAfter = inventory.ErrFull, 1<<20
			r.writeErr = errDisk
			return []*fakeStore{s, r}
		}, want: inventory.ErrFull},
		"disk fails at the end": {req: Request{Body: bytes.NewReader(fox), Size: 16}, stores: func() []*fakeStore {
			s := newStore("a")
			s.commitErr = errDisk
			return []*fakeStore{s}
		}, want: errDisk},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			stores := []*fakeStore{newStore("a"), newStore("b")}
			if tt.stores != nil {
				stores = tt.stores()
			}
			u := newUploader(t, stores...)
			_, err := u.Upload(context.Background(), tt.req)
			if _, ok := tt.want.(*BodyError); ok { //nolint:errorlint // the table's own value
				require.ErrorAs(t, err, new(*BodyError))
			} else {
				require.ErrorIs(t, err, tt.want)
			}
			requireNothingOpen(t, stores...)
			for _, s := range stores {
				require.Empty(t, s.clones)
			}
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestUploadRefusesABlockedContent(t *testing.T) {
	a := newStore("a")
	body := []byte("The fox is brown")
	u := newUploader(t, a)
	u.index.(fakeIndex).blocked[sha1Of(body)] = true
	for _, want := range []content.Hash{{}, sha1Of(body)} {
		_, err := u.Upload(context.Background(), Request{Body: bytes.NewReader(body), Size: 16, Want: want})
		require.ErrorIs(t, err, inventory.ErrBlocked)
	}
	requireNothingOpen(t, a)
	require.Empty(t, a.clones)
}

func TestUploadCopiesWhatAStoreDidNotKeep(t *testing.T) {
	errDisk := errors.New("input/output error")
	tests := map[string]func(*fakeStore){
		"fails when it begins":    func(s *fakeStore) { s.createErr = errDisk },
		"fails in the middle":     func(s *fakeStore) { s.writeErr, s.failAfter = errDisk, 1<<20 },
		"fails at the first byte": func(s *fakeStore) { s.writeErr = errDisk },
		"fails at the end":        func(s *fakeStore) { s.commitErr = errDisk },
	}
	for name, breaks := range tests {
		t.Run(name, func(t *testing.T) {
			a, b, c := newStore("a"), newStore("b"), newStore("c")
			b.target.Node, c.target.Node = "other", "other" // a and one of these are chosen
			breaks(a)
			u := newUploader(t, a, b, c)
			body := randomBytes(3 << 20)
			res, err := u.Upload(context.Background(), Request{Body: bytes.NewReader(body), Size: int64(len(body))})
			require.NoError(t, err)
			require.Equal(t, 2, res.Durability)
			require.True(t, b.has(res.Hash))
			require.True(t, c.has(res.Hash))
			require.Equal(t, body, b.clones[res.Hash])
			require.Equal(t, body, c.clones[res.Hash])
			requireNothingOpen(t, a, b, c)
		})
	}
}

func TestUploadIsAcknowledgedWithFewerWhereNoStoreIsLeft(t *testing.T) {
	a, b := newStore("a"), newStore("b")
	b.writeErr = errors.New("input/output error")
	u := newUploader(t, a, b)
	res, err := u.Upload(context.Background(), Request{Body: strings.NewReader("x"), Size: 1, Copies: 3})
	require.NoError(t, err)
	require.Equal(t, 1, res.Durability)
	requireNothingOpen(t, a, b)
}

func TestUploadLeavesAStalledStoreBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := newStore("a"), newStore("b"), newStore("c")
		b.target.Node, c.target.Node = "other", "other"
		a.hang = make(chan struct{})
		u := newUploader(t, a, b, c)
		body := randomBytes(40 * bufferSize)
		began := time.Now()
		res, err := u.Upload(context.Background(), Request{Body: bytes.NewReader(body), Size: int64(len(body))})
		require.NoError(t, err)
		require.Equal(t, 2, res.Durability)
		require.Equal(t, body, b.clones[res.Hash])
		require.Equal(t, body, c.clones[res.Hash])
		waited := time.Since(began)
		require.GreaterOrEqual(t, waited, stallAfter)
		require.Less(t, waited, stallAfter+2*sweepEvery)
		close(a.hang) // the disk comes back: what it had is taken back
		synctest.Wait()
		requireNothingOpen(t, a, b, c)
		require.Empty(t, a.clones)
	})
}

func TestUploadWaitsForASlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newStore("a"), newStore("b")
		u := newUploader(t, a, b)
		res, err := u.Upload(context.Background(), Request{Body: &slow{pieces: 10, every: 3 * hangAfter}, Size: 10})
		require.NoError(t, err)
		require.Equal(t, 2, res.Durability)
	})
}

// slow gives one byte now and then.
type slow struct {
	pieces int
	every  time.Duration
}

func (s *slow) Read(p []byte) (int, error) {
	if s.pieces == 0 {
		return 0, io.EOF
	}
	s.pieces--
	<-time.After(s.every)
	p[0] = 'x'
	return 1, nil
}

func TestUploadFailsWhereEveryStoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newStore("a"), newStore("b")
		hang := make(chan struct{})
		a.hang, b.hang = hang, hang
		u := newUploader(t, a, b)
		_, err := u.Upload(context.Background(), Request{Body: endless{}, Size: -1})
		require.ErrorIs(t, err, ErrStalled)
		close(hang)
		synctest.Wait()
		requireNothingOpen(t, a, b)
	})
}

func TestUploadLeavesAHangingCommitBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := newStore("a"), newStore("b"), newStore("c")
		b.target.Node, c.target.Node = "other", "other"
		a.hangSync = make(chan struct{})
		u := newUploader(t, a, b, c)
		began := time.Now()
		res, err := u.Upload(context.Background(), Request{Body: strings.NewReader("x"), Size: 1})
		require.NoError(t, err)
		require.Equal(t, 2, res.Durability)
		require.True(t, b.has(res.Hash))
		require.True(t, c.has(res.Hash))
		require.Equal(t, commitTime(1), time.Since(began))
		close(a.hangSync)
		synctest.Wait()
	})
}

func TestUploadOfWhatIsThereMakesNoMoreClones(t *testing.T) {
	a, b, c, d := newStore("a"), newStore("b"), newStore("c"), newStore("d")
	u := newUploader(t, a, b, c, d)
	body := randomBytes(300 << 10)
	for range 20 {
		for _, want := range []content.Hash{{}, sha1Of(body)} {
			res, err := u.Upload(context.Background(), Request{Body: bytes.NewReader(body), Size: int64(len(body)), Want: want})
			require.NoError(t, err)
			require.Equal(t, 2, res.Durability)
		}
	}
	held := 0
	for _, s := range []*fakeStore{a, b, c, d} {
		if s.has(sha1Of(body)) {
			held++
		}
	}
	require.Equal(t, 2, held)
	requireNothingOpen(t, a, b, c, d)
}

func TestUploadDiscarded(t *testing.T) {
	a, b := newStore("a"), newStore("b")
	u := newUploader(t, a, b)
	received, err := u.Receive(context.Background(), Request{Body: strings.NewReader("x"), Size: 1})
	require.NoError(t, err)
	require.Equal(t, sha1Of([]byte("x")), received.Hash())
	received.Discard()
	requireNothingOpen(t, a, b)
	require.Empty(t, a.clones)
	require.Empty(t, b.clones)
}

func TestUploadGoesOnWhereTheClientLeftAtTheEnd(t *testing.T) {
	a := newStore("a")
	u := newUploader(t, a)
	ctx, cancel := context.WithCancel(context.Background())
	received, err := u.Receive(ctx, Request{Body: strings.NewReader("x"), Size: 1})
	require.NoError(t, err)
	cancel()
	res, err := received.Finish(ctx)
	require.NoError(t, err)
	require.True(t, a.has(res.Hash))
}

func TestClosedUploaderTakesNothing(t *testing.T) {
	a := newStore("a")
	u := newUploader(t, a)
	require.NoError(t, u.Close(context.Background()))
	_, err := u.Upload(context.Background(), Request{Body: strings.NewReader("x"), Size: 1})
	require.ErrorIs(t, err, ErrClosed)
	requireNothingOpen(t, a)
}

func TestFaultsOfUploads(t *testing.T) {
	for want, errs := range map[handlers.Code][]error{
		handlers.TooLarge:    {ErrTooLarge, &BodyError{Err: &http.MaxBytesError{Limit: 5}}},
		handlers.Malformed:   {&BodyError{Err: io.ErrUnexpectedEOF}},
		handlers.Mismatch:    {inventory.ErrMismatch},
		handlers.Collision:   {inventory.ErrCollision},
		handlers.Blocked:     {inventory.ErrBlocked},
		handlers.DiskFull:    {inventory.ErrFull, whyNone([]error{ErrStalled, inventory.ErrFull})},
		handlers.Unavailable: {ErrNoStore, ErrStalled, ErrClosed, inventory.ErrOffline, inventory.ErrReadOnly, inventory.ErrSuspect, record.ErrUnavailable},
		handlers.Internal:    {errors.New("input/output error")},
	} {
		for _, err := range errs {
			require.Equal(t, want, Fault(fmt.Errorf("uploading: %w", err)).Code, "%v", err)
		}
	}
}

// counted gives so many bytes and notes the largest heap meanwhile.
type counted struct {
	left  int64
	reads int
	peak  *atomic.Uint64
}

func (c *counted) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	if c.reads++; c.reads%256 == 0 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		c.peak.Store(max(c.peak.Load(), m.HeapAlloc))
	}
	n := min(int64(len(p)), c.left)
	c.left -= n
	return int(n), nil
}

func TestUploadMemoryIsConstant(t *testing.T) {
	a, b := newStore("a"), newStore("b")
	a.discard, b.discard = true, true
	u := newUploader(t, a, b)
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	var peak atomic.Uint64
	const size = 128 << 20
	res, err := u.Upload(context.Background(), Request{Body: &counted{left: size, peak: &peak}, Size: size, Type: content.MD5})
	require.NoError(t, err)
	require.Equal(t, int64(size), res.Size)
	require.NotZero(t, peak.Load())
	require.Less(t, peak.Load()-min(before.HeapAlloc, peak.Load()), uint64(32<<20), "heap grows with the body")
}

func BenchmarkUpload(b *testing.B) {
	s := newStore("a")
	s.discard = true
	u := New(fakeIndex{stores: []*fakeStore{s}}, func() []Store { return []Store{s} }, zap.NewNop())
	const size = 256 << 20
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		_, err := u.Upload(context.Background(), Request{Body: &counted{left: size, peak: new(atomic.Uint64)}, Size: size})
		require.NoError(b, err)
	}
}
