package serve

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// spyListener gives connections that record what their ReadFrom is given.
type spyListener struct {
	net.Listener
	sent *atomic.Int64 // bytes that left the file while its descriptor was lent
}

func (l spyListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return spyConn{c.(*net.TCPConn), l.sent}, nil
}

type spyConn struct {
	*net.TCPConn
	sent *atomic.Int64
}

func (c spyConn) ReadFrom(r io.Reader) (int64, error) {
	if l, ok := r.(*io.LimitedReader); ok {
		if s, ok := l.R.(*section); ok {
			return c.TCPConn.ReadFrom(spy(l, s, c.sent))
		}
	}
	return c.TCPConn.ReadFrom(r)
}

func spy(l *io.LimitedReader, s *section, sent *atomic.Int64) io.Reader {
	l.R = spySection{s, sent}
	return l
}

type spySection struct {
	*section
	sent *atomic.Int64
}

func (s spySection) SyscallConn() (syscall.RawConn, error) {
	conn, err := s.section.SyscallConn()
	if err != nil {
		return nil, err
	}
	return spyRaw{conn, s}, nil
}

type spyRaw struct {
	syscall.RawConn
	s spySection
}

func (r spyRaw) Read(f func(uintptr) bool) error {
	before := r.s.pos
	err := r.RawConn.Read(f)
	r.s.sent.Add(r.s.pos - before)
	return err
}

// The connection sends the file by itself: while the descriptor is lent to it,
// the file's position moves by all that was asked for.
func TestSendfile(t *testing.T) {
	const chunk = 64 << 10
	s := newSample(t, 1<<20+77, "mp4")
	chunked := *s
	chunked.info.Loosen = func(*http.Request) (int64, func()) { return chunk, func() {} }
	for _, tc := range []struct {
		name    string
		handler http.Handler
		header  string
		direct  int64 // bytes by sendfile
	}{
		{"whole", s, "", 1<<20 + 77},
		{"middle", s, "bytes=1000-999999", 999000},
		{"to the end", s, "bytes=1000-", 1<<20 + 77 - 1000},
		{"whole, in chunks", &chunked, "", 1<<20 + 77},
		{"middle, in chunks", &chunked, "bytes=1000-999999", 999000 / chunk * chunk},
		{"to the end, in chunks", &chunked, "bytes=1000-", 1<<20 + 77 - 1000},
		{"less than a chunk", &chunked, "bytes=5-65539", 0}, // small
		{"a chunk and a byte", &chunked, "bytes=5-65541", chunk},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var sent atomic.Int64
			handler := tc.handler
			if handler == &chunked {
				handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { chunked.ServeHTTP(chunkWriter{w, chunk}, r) })
			}
			server := httptest.NewUnstartedServer(handler)
			server.Listener = spyListener{server.Listener, &sent}
			server.Start()
			defer server.Close()
			header := map[string]string{}
			if tc.header != "" {
				header["Range"] = tc.header
			}
			resp, body := get(t, server.Client(), "GET", server.URL, header)
			require.Equal(t, resp.ContentLength, int64(len(body)))
			if sendfileMovesFile {
				server.Close() // the last bytes arrive before they are counted
				require.Equal(t, tc.direct, sent.Load())
			}
		})
	}
}

// A server that says that it hands on pieces but does not must never make a
// response run over its end unnoticed.
func TestOvershootEndsTheConnection(t *testing.T) {
	s := newSample(t, 1<<20, "mp4")
	s.info.Loosen = func(*http.Request) (int64, func()) { return 1000, func() {} }
	var result error
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f := s.open(t)
		defer f.Close()
		plan := Prepare(r, &s.info)
		_, result = plan.Send(w, r, f)
		panic(http.ErrAbortHandler)
	}))
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nRange: bytes=0-199999\r\n\r\n")
	require.NoError(t, err)
	all, _ := io.ReadAll(conn) // until the server hangs up
	server.Close()
	_, body, _ := bytes.Cut(all, []byte("\r\n\r\n"))
	require.Equal(t, s.data[:len(body)], body)
	if sendfileMovesFile {
		require.ErrorIs(t, result, ErrBroken)
	}
}

// brokenAfter is a body that fails after n bytes.
type brokenAfter struct {
	r io.Reader
	n int
}

func (b *brokenAfter) Read(p []byte) (int, error) {
	if b.n == 0 {
		return 0, syscall.EIO
	}
	n, err := b.r.Read(p[:min(len(p), b.n)])
	b.n -= n
	return n, err
}

func (b *brokenAfter) Close() error { return nil }

// truncated returns the sample's file, cut to n bytes once it is open.
func (s *sample) truncated(t testing.TB, n int64) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cut")
	require.NoError(t, os.WriteFile(path, s.data[:n], 0o600))
	f, err := os.Open(path)
	require.NoError(t, err)
	return f
}

func TestNextCloneContinuesFromThatByte(t *testing.T) {
	for _, size := range []int{5000, 1 << 20} {
		s := newSample(t, size, "mp4")
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			for _, header := range []string{"", "bytes=100-4000", "bytes=0-99,200-4100"} {
				var offsets []int64
				var failures []error
				info := s.info
				opens := 0
				info.Next = func(offset, _ int64) (io.ReadCloser, error) {
					offsets = append(offsets, offset)
					opens++
					switch opens {
					case 1: // a second file that is cut, too
						return s.truncated(t, int64(size)/3), nil
					case 2: // a body from elsewhere, which breaks
						return &brokenAfter{bytes.NewReader(s.data[offset:]), size / 4}, nil
					}
					return io.NopCloser(bytes.NewReader(s.data[offset:])), nil
				}
				info.Failed = func(err error) { failures = append(failures, err) }
				rec := httptest.NewRecorder()
				first := s.truncated(t, int64(size)/4)
				defer first.Close()
				r := httptest.NewRequest("GET", "/x", nil)
				if header != "" {
					r.Header.Set("Range", header)
				}
				plan := Prepare(r, &info)
				result, err := plan.Send(rec, r, first)
				require.NoError(t, err)
				switch header {
				case "":
					require.True(t, bytes.Equal(s.data, rec.Body.Bytes()))
					require.Equal(t, int64(size), result.Sent)
					require.Equal(t, []int64{int64(size) / 4, int64(size) / 3, int64(size)/3 + int64(size)/4}, offsets)
					require.Len(t, failures, 3)
				case "bytes=100-4000":
					require.True(t, bytes.Equal(s.data[100:4001], rec.Body.Bytes()))
				default:
					require.Contains(t, rec.Body.String(), string(s.data[200:4101]))
				}
			}
		})
	}
}

func TestNextCloneOverTheWire(t *testing.T) {
	const size = 3 << 20
	s := newSample(t, size, "mp4")
	whole, loosened := s.info, s.info
	loosened.Loosen = func(*http.Request) (int64, func()) { return 64 << 10, func() {} }
	for name, chunk := range map[string]int64{"plain": 0, "chunked": 64 << 10} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				info := whole
				if chunk > 0 {
					info, w = loosened, chunkWriter{w, chunk}
				}
				info.Next = func(int64, int64) (io.ReadCloser, error) { return os.Open(s.path) }
				f := s.truncated(t, 1<<20+333)
				defer f.Close()
				plan := Prepare(r, &info)
				if _, err := plan.Send(w, r, f); err != nil {
					panic(http.ErrAbortHandler)
				}
			}))
			defer server.Close()
			_, body := get(t, server.Client(), "GET", server.URL, nil)
			require.True(t, bytes.Equal(s.data, body))
			_, body = get(t, server.Client(), "GET", server.URL, map[string]string{"Range": "bytes=500-2999999"})
			require.True(t, bytes.Equal(s.data[500:3000000], body))
		})
	}
}

func TestNoCloneLeft(t *testing.T) {
	s := newSample(t, 1<<20, "mp4")
	f := s.truncated(t, 1000)
	defer f.Close()
	send := func(url string, info Info) (*httptest.ResponseRecorder, error) {
		rec := httptest.NewRecorder()
		r := httptest.NewRequest("GET", url, nil)
		plan := Prepare(r, &info)
		_, err := plan.Send(rec, r, f)
		return rec, err
	}
	rec, err := send("/x", s.info)
	require.ErrorIs(t, err, ErrBroken)
	require.Equal(t, s.data[:1000], rec.Body.Bytes())

	small := s.info
	small.Size = 2000
	small.Next = func(int64, int64) (io.ReadCloser, error) { return nil, errors.New("no more") }
	rec, err = send("/x?attach=y", small)
	require.ErrorIs(t, err, ErrUnreadable)
	require.Empty(t, rec.Body.Bytes())
	require.Empty(t, rec.Header().Get("Content-Length"))
	require.Empty(t, rec.Header().Get("Content-Disposition"))
	require.Empty(t, rec.Header().Get("Etag"))
}

// A client that goes away is no error, and no reason to try another clone.
func TestClientGoesAway(t *testing.T) {
	s := newSample(t, 24<<20, "mp4")
	for _, chunk := range []int64{0, 64 << 10} {
		done := make(chan error, 1)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			info := s.info
			if chunk > 0 {
				w = chunkWriter{w, chunk}
				info.Loosen = func(*http.Request) (int64, func()) { return chunk, func() {} }
			}
			info.Failed = func(err error) { t.Errorf("body failed: %v", err) }
			f := s.open(t)
			defer f.Close()
			plan := Prepare(r, &info)
			_, err := plan.Send(w, r, f)
			done <- err
		}))
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		require.NoError(t, err)
		_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		_, err = io.ReadFull(conn, make([]byte, 4096))
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		require.NoError(t, <-done)
		server.Close()
	}
}

func TestPacer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, rate := range []int64{1, 7, 1000, 1 << 20, 1 << 30} {
			p := pacer{rate: rate}
			began := time.Now()
			left := rate * 10
			for left > 0 {
				n := p.piece(left, 0)
				require.NoError(t, p.wait(t.Context(), n))
				left -= n
			}
			took := time.Since(began)
			require.LessOrEqual(t, took, 10*time.Second)
			require.GreaterOrEqual(t, took, 9*time.Second-time.Millisecond)
		}
	})
}

func TestPacerAfterAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pacer{rate: 1000}
		require.NoError(t, p.wait(t.Context(), 250))
		<-time.After(time.Hour) // of a paused player
		began := time.Now()
		for range 40 {
			require.NoError(t, p.wait(t.Context(), 250))
		}
		require.GreaterOrEqual(t, time.Since(began), 9*time.Second)

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, p.wait(ctx, 250), context.Canceled)
	})
}

func TestPacerPieces(t *testing.T) {
	require.Equal(t, int64(99), (&pacer{}).piece(99, 10))
	require.Equal(t, int64(1), (&pacer{rate: 1}).piece(99, 10))
	require.Equal(t, int64(20), (&pacer{rate: 100}).piece(99, 10)) // whole chunks
	require.Equal(t, int64(7), (&pacer{rate: 100}).piece(7, 10))
}

// A limited response is the same response, only slower.
func TestRateOverTheWire(t *testing.T) {
	s := newSample(t, 300<<10, "mp4")
	for name, server := range servers(t, s) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			resp, body := get(t, server.Client(), "GET", server.URL+"/x?rate=400k", nil)
			require.Equal(t, int64(len(s.data)), resp.ContentLength)
			require.True(t, bytes.Equal(s.data, body))
			require.GreaterOrEqual(t, time.Since(began), 450*time.Millisecond) // the first quarter is for free
		})
	}
}
