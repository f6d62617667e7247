package clones

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/inventory/disk"
	"github.com/ooseio/oose/record"
)

func TestOpen(t *testing.T) {
	n := newNode(t, "s", "om101", "om102")
	data := randomBytes(1<<20 + 7)
	h := n.put(0, data, "mp4")
	c := newClient(t)
	size, store := int64(len(data)), n.all[0].ID()
	for _, span := range [][2]int64{{0, size}, {0, 1}, {size - 1, size}, {1000, 500_000}, {5, 5}, {size, size}} {
		body, err := c.Open(t.Context(), n.http.URL, store, h, span[0], span[1])
		require.NoError(t, err)
		require.True(t, bytes.Equal(data[span[0]:span[1]], readAll(t, body)), "%v", span)
	}
	empty := n.put(0, nil, "txt")
	body, err := c.Open(t.Context(), n.http.URL, store, empty, 0, 0)
	require.NoError(t, err)
	require.Empty(t, readAll(t, body))

	other := sha1Of([]byte("nobody has this"))
	for name, tc := range map[string]struct {
		store string
		hash  content.Hash
		end   int64
		want  error
	}{
		"a content that nobody has":     {store, other, 5, inventory.ErrNotExist},
		"a store that does not hold it": {n.all[1].ID(), h, 5, inventory.ErrNotExist},
		"a store that is not here":      {"elsewhere", h, 5, inventory.ErrOffline},
		"no store":                      {"", h, 5, inventory.ErrOffline},
		"more than there is":            {store, h, size + 1, ErrAnswer},
	} {
		_, err := c.Open(t.Context(), n.http.URL, tc.store, tc.hash, 0, tc.end)
		require.ErrorIs(t, err, tc.want, name)
	}
	_, err = n.engine.Update(t.Context(), record.Block, h.String(), record.Condition{}, record.Change{Value: []byte(`{}`)})
	require.NoError(t, err)
	_, err = c.Open(t.Context(), n.http.URL, store, h, 0, size)
	require.ErrorIs(t, err, inventory.ErrBlocked)
}

// A file that is not as recorded does not leave.
func TestOpenChanged(t *testing.T) {
	n := newNode(t, "s", "om101")
	h := n.put(0, []byte("a film"), "mp4")
	clone, _, err := n.all[0].Has(t.Context(), h)
	require.NoError(t, err)
	clone.Size++
	changed := &Server{ServerDeps: n.server.ServerDeps}
	changed.Index = oneClone{clone}
	rec := httptest.NewRecorder()
	changed.ServeHTTP(rec, httptest.NewRequest("GET", ClonePath+h.String()+"?store="+clone.Store, nil))
	require.Equal(t, 404, rec.Code)
	require.Contains(t, rec.Body.String(), `"kind":"changed"`)
}

type oneClone struct{ clone inventory.Clone }

func (o oneClone) Find(context.Context, content.Hash) (*inventory.Placement, error) {
	return &inventory.Placement{Clones: []inventory.Clone{o.clone}}, nil
}

// doer answers by itself.
type doer func(*http.Request) (*http.Response, error)

func (d doer) Do(r *http.Request) (*http.Response, error) { return d(r) }

// part is an answer with a body that comes as it likes.
func part(h content.Hash, start, end, size int64, body io.ReadCloser) *http.Response {
	header := http.Header{}
	header.Set("Etag", `"`+h.String()+`"`)
	header.Set("Content-Range", "bytes "+strconv.FormatInt(start, 10)+"-"+strconv.FormatInt(end-1, 10)+"/"+strconv.FormatInt(size, 10))
	return &http.Response{StatusCode: 206, Header: header, Body: body, ContentLength: end - start}
}

// tied is a body whose reading ends with its request's context, as that of a
// transport does.
func tied(r *http.Request, in *io.PipeReader) io.ReadCloser {
	context.AfterFunc(r.Context(), func() { in.CloseWithError(r.Context().Err()) })
	return in
}

// A body that brings nothing for 5 s fails, but only while somebody reads.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := sha1Of(nil)
		in, out := io.Pipe()
		c := NewClient(ClientDeps{Doer: doer(func(r *http.Request) (*http.Response, error) {
			return part(h, 0, 100, 100, tied(r, in)), nil
		})})
		body, err := c.Open(t.Context(), "http://x", "s", h, 0, 100)
		require.NoError(t, err)
		go func() {
			_, _ = out.Write([]byte("a"))
			time.Sleep(4900 * time.Millisecond)
			_, _ = out.Write([]byte("b"))
		}()
		buf := make([]byte, 1)
		_, err = io.ReadFull(body, buf)
		require.NoError(t, err)
		time.Sleep(time.Hour) // a paused player
		_, err = io.ReadFull(body, buf)
		require.NoError(t, err)
		began := time.Now()
		n, err := body.Read(buf)
		require.Zero(t, n)
		require.ErrorIs(t, err, ErrStalled)
		require.Equal(t, 5*time.Second, time.Since(began))
		require.NoError(t, body.Close())
		require.NoError(t, c.Close(t.Context()))
	})
}

// A store that accepts and does not answer is not waited for any longer.
func TestOpenStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewClient(ClientDeps{Doer: doer(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})})
		began := time.Now()
		_, err := c.Open(t.Context(), "http://x", "s", sha1Of(nil), 0, 1)
		require.ErrorIs(t, err, ErrStalled)
		require.Equal(t, 5*time.Second, time.Since(began))
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(io.ErrClosedPipe)
		_, err = c.Open(ctx, "http://x", "s", sha1Of(nil), 0, 1)
		require.ErrorIs(t, err, io.ErrClosedPipe)
		require.NotErrorIs(t, err, ErrStalled)
	})
}

func TestOpenRefusesOtherAnswers(t *testing.T) {
	h := sha1Of([]byte("x"))
	for name, answer := range map[string]func(http.ResponseWriter){
		"the whole": func(w http.ResponseWriter) {
			w.Header().Set("Etag", `"`+h.String()+`"`)
			_, _ = w.Write([]byte("0123456789"))
		},
		"another part": func(w http.ResponseWriter) {
			w.Header().Set("Etag", `"`+h.String()+`"`)
			w.Header().Set("Content-Range", "bytes 0-9/100")
			w.WriteHeader(206)
			_, _ = w.Write([]byte("0123456789"))
		},
		"another length": func(w http.ResponseWriter) {
			w.Header().Set("Etag", `"`+h.String()+`"`)
			w.Header().Set("Content-Range", "bytes 10-19/100")
			w.WriteHeader(206)
			_, _ = w.Write([]byte("01234567890"))
		},
		"another content": func(w http.ResponseWriter) {
			w.Header().Set("Etag", `"`+sha1Of(nil).String()+`"`)
			w.Header().Set("Content-Range", "bytes 10-19/100")
			w.WriteHeader(206)
			_, _ = w.Write([]byte("0123456789"))
		},
		"no JSON":  func(w http.ResponseWriter) { w.WriteHeader(500); _, _ = w.Write([]byte("<html>")) },
		"redirect": func(w http.ResponseWriter) { w.Header().Set("Location", "/x"); w.WriteHeader(304) },
		"an endless refusal": func(w http.ResponseWriter) {
			w.WriteHeader(500)
			for range 1000 {
				_, _ = w.Write(bytes.Repeat([]byte("x"), 1<<10))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w) }))
			defer server.Close()
			_, err := newClient(t).Open(t.Context(), server.URL, "s", h, 10, 20)
			require.ErrorIs(t, err, ErrAnswer)
		})
	}
}

// A body that ends before its end is an error, and so is one whose node dies.
func TestEarlyEnd(t *testing.T) {
	h := sha1Of([]byte("x"))
	for name, end := range map[string]func(http.ResponseWriter){
		"dies": func(w http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"ends": func(http.ResponseWriter) {},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Etag", `"`+h.String()+`"`)
				w.Header().Set("Content-Range", "bytes 0-999999/1000000")
				w.Header().Set("Content-Length", "1000000")
				w.WriteHeader(206)
				_, _ = w.Write(make([]byte, 10000))
				_ = http.NewResponseController(w).Flush()
				end(w)
			}))
			defer server.Close()
			body, err := newClient(t).Open(t.Context(), server.URL, "s", h, 0, 1000000)
			require.NoError(t, err)
			defer body.Close()
			n, err := io.Copy(io.Discard, body)
			require.Error(t, err)
			require.LessOrEqual(t, n, int64(10000))
		})
	}
}

// So is one whose transport does not say that it ended early.
func TestEarlyEndUnsaid(t *testing.T) {
	h := sha1Of(nil)
	c := NewClient(ClientDeps{Doer: doer(func(*http.Request) (*http.Response, error) {
		return part(h, 0, 100, 100, io.NopCloser(strings.NewReader("short"))), nil
	})})
	body, err := c.Open(t.Context(), "http://x", "s", h, 0, 100)
	require.NoError(t, err)
	got, err := io.ReadAll(body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Equal(t, "short", string(got))
	require.NoError(t, body.Close())
}

// A connection that gave all its bytes serves the next request.
func TestConnectionsAreKept(t *testing.T) {
	n := newNode(t, "s", "om101")
	data := randomBytes(1 << 20)
	h := n.put(0, data, "mp4")
	from := map[string]bool{}
	n.before(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			from[r.RemoteAddr] = true
			next.ServeHTTP(w, r)
		})
	})
	c := newClient(t)
	for range 10 {
		body, err := c.Open(t.Context(), n.http.URL, n.all[0].ID(), h, 0, int64(len(data)))
		require.NoError(t, err)
		buf := make([]byte, 256<<10)
		for range 4 {
			_, err := io.ReadFull(body, buf)
			require.NoError(t, err)
		}
		require.NoError(t, body.Close())
	}
	require.Len(t, from, 1)
}

func FuzzServer(f *testing.F) {
	n := newNode(f, "s", "om101")
	h, store := n.put(0, []byte("a film"), "mp4"), n.all[0].ID()
	for _, seed := range [][3]string{
		{"GET", ClonePath + h.String() + "?store=" + store, ""},
		{"HEAD", ClonePath + h.String(), ""},
		{"GET", ClonePath + "../../etc/passwd?store=" + store, ""},
		{"POST", UploadPath + "ABCDEFGHIJKLMNOPQRSTUVWXYZ", `{"store":"` + store + `","size":5,"type":"sha1"}`},
		{"PUT", UploadPath + "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "12345"},
		{"POST", UploadPath + "ABCDEFGHIJKLMNOPQRSTUVWXYZ/commit", `{"hash":"` + h.String() + `","ext":"../x"}`},
		{"DELETE", UploadPath + "ABCDEFGHIJKLMNOPQRSTUVWXYZ", ""},
		{"POST", RenewPath, `{"store":"` + store + `","hash":"` + h.String() + `"}`},
		{"POST", RenewPath, `{"store":[]}`},
		{"PATCH", "/cluster/", "\x00"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, method, path, body string) {
		r, err := http.NewRequest(method, "http://x"+path, strings.NewReader(body))
		if err != nil || strings.Contains(r.URL.RawQuery, "rate=") {
			return
		}
		rec := httptest.NewRecorder()
		n.server.ServeHTTP(rec, r)
		require.NotEqual(t, 500, rec.Code, rec.Body.String())
	})
}

func FuzzAnswer(f *testing.F) {
	h := sha1Of([]byte("a film"))
	key := h.String()
	for _, seed := range []string{
		"", "{}", `{"clone":{"ext":"mp4","size":6},"records":[{"topic":"inventory","key":"` + key + `","member":"s","source":"x","time":"1","revision":1,"value":"e30="}]}`,
		`{"records":[{"topic":"purchase"}]}`, `{"error":"x","kind":"full"}`, `[`, `{"clone":{"ext":"../x"},"records":[{}]}`,
	} {
		f.Add(200, seed)
		f.Add(507, seed)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		resp := &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body))}
		var m cloneMessage
		if err := answer(resp, &m); err != nil {
			require.Less(t, len(err.Error()), 2000)
			return
		}
		s := &remote{NewClient(ClientDeps{}), Target{Target: inventory.Target{ID: "s"}}}
		c, err := s.learn(t.Context(), h, m)
		if err != nil {
			require.True(t, errors.Is(err, ErrAnswer))
			return
		}
		require.Equal(t, h, c.Hash)
		require.Equal(t, "s", c.Store)
	})
}

// A clone that fails while another node reads it is looked at at once.
func TestGivenCloneThatFails(t *testing.T) {
	n := newNode(t, "s", "om101")
	h := n.put(0, randomBytes(1<<20), "mp4")
	clone, ok, err := n.all[0].Has(t.Context(), h)
	require.NoError(t, err)
	require.True(t, ok)
	path := filepath.Join(n.all[0].Root(), disk.ClonePath(h, clone.Ext, clone.Deep))
	w := &cutting{ResponseRecorder: httptest.NewRecorder(), cut: func() { require.NoError(t, os.Truncate(path, 300_000)) }}
	r := httptest.NewRequest("GET", ClonePath+h.String()+"?store="+clone.Store, nil)
	require.PanicsWithValue(t, http.ErrAbortHandler, func() { n.server.ServeHTTP(w, r) })
	require.Eventually(t, func() bool { return n.all[0].Status().Clones == 0 }, time.Minute, 5*time.Millisecond)
	require.NoFileExists(t, path)
}

// cutting is a ResponseWriter that calls cut before the first bytes of the body.
type cutting struct {
	*httptest.ResponseRecorder
	cut func()
}

func (c *cutting) Write(p []byte) (int, error) {
	if c.Body.Len() == 0 {
		c.cut()
	}
	return c.ResponseRecorder.Write(p)
}
