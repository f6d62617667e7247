package serve

import (
	"bytes"
	"crypto/sha1"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
)

// sample is a file with its bytes.
type sample struct {
	data []byte
	path string
	info Info
}

func newSample(t testing.TB, size int, ext string) *sample {
	t.Helper()
	data := make([]byte, size)
	src := rand.NewChaCha8([32]byte{1})
	_, _ = src.Read(data)
	path := filepath.Join(t.TempDir(), "content")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	sum := sha1.Sum(data)
	h, err := content.HashOf(content.SHA1, sum[:])
	require.NoError(t, err)
	return &sample{data, path, Info{Hash: h, Ext: ext, Size: int64(size)}}
}

func (s *sample) open(t testing.TB) *os.File {
	t.Helper()
	f, err := os.Open(s.path)
	require.NoError(t, err)
	return f
}

// ServeHTTP serves the sample as a role would.
func (s *sample) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, err := os.Open(s.path)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	info := s.info
	plan := Prepare(r, &info)
	if _, err := plan.Send(w, r, f); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// chunkWriter hands on what ReadFrom gets in pieces, as Caddy's idle timeouts do.
type chunkWriter struct {
	http.ResponseWriter
	chunk int64
}

func (w chunkWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w chunkWriter) ReadFrom(r io.Reader) (total int64, err error) {
	for {
		n, err := w.ResponseWriter.(io.ReaderFrom).ReadFrom(io.LimitReader(r, w.chunk))
		total += n
		if err != nil || n < w.chunk {
			return total, err
		}
	}
}

func get(t testing.TB, client *http.Client, method, url string, header map[string]string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	require.NoError(t, err)
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, body
}

// servers are the ways in which a response can leave: plain with sendfile,
// plain behind a chunking server, plain without ReadFrom, TLS and HTTP/2.
func servers(t *testing.T, s *sample) map[string]*httptest.Server {
	t.Helper()
	const chunk = 64 << 10
	loosened := *s
	loosened.info.Loosen = func(*http.Request) (int64, func()) { return chunk, func() {} }
	all := map[string]*httptest.Server{
		"plain": httptest.NewServer(s),
		"chunked, known": httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			loosened.ServeHTTP(chunkWriter{w, chunk}, r)
		})),
		"chunked, unknown": httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.ServeHTTP(chunkWriter{w, chunk}, r)
		})),
		"no ReadFrom": httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.ServeHTTP(struct{ http.ResponseWriter }{w}, r)
		})),
		"tls": httptest.NewTLSServer(s),
	}
	h2 := httptest.NewUnstartedServer(s)
	h2.EnableHTTP2 = true
	h2.StartTLS()
	all["http/2"] = h2
	for _, server := range all {
		t.Cleanup(server.Close)
	}
	return all
}

func TestRandomRangesAreTheBytes(t *testing.T) {
	for _, size := range []int{1, 4096, smallBody, smallBody + 1, 1<<20 + 12345} {
		s := newSample(t, size, "mp4")
		for name, server := range servers(t, s) {
			t.Run(fmt.Sprintf("%s of %d", name, size), func(t *testing.T) {
				client := server.Client()
				resp, body := get(t, client, "GET", server.URL+"/x", nil)
				require.Equal(t, 200, resp.StatusCode)
				require.Equal(t, int64(size), resp.ContentLength)
				require.True(t, bytes.Equal(s.data, body))
				rnd := rand.New(rand.NewPCG(uint64(size), 7))
				for range 60 {
					a := rnd.IntN(size)
					b := a + rnd.IntN(size-a)
					want, header := s.data[a:b+1], fmt.Sprintf("bytes=%d-%d", a, b)
					switch rnd.IntN(4) {
					case 0:
						want, header = s.data[a:], fmt.Sprintf("bytes=%d-", a)
					case 1:
						want, header = s.data[size-a-1:], fmt.Sprintf("bytes=-%d", a+1)
					}
					resp, body := get(t, client, "GET", server.URL+"/x", map[string]string{"Range": header})
					require.Equal(t, 206, resp.StatusCode, header)
					require.Equal(t, int64(len(want)), resp.ContentLength)
					require.True(t, bytes.Equal(want, body), header)
					require.True(t, strings.HasSuffix(resp.Header.Get("Content-Range"), "/"+strconv.Itoa(size)))
				}
			})
		}
	}
}

func TestMultipleRanges(t *testing.T) {
	s := newSample(t, 2<<20, "mp4")
	for name, server := range servers(t, s) {
		t.Run(name, func(t *testing.T) {
			resp, body := get(t, server.Client(), "GET", server.URL+"/x", map[string]string{"Range": "bytes=0-9,100-400000,-5"})
			require.Equal(t, 206, resp.StatusCode)
			require.Equal(t, int64(len(body)), resp.ContentLength)
			kind, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
			require.NoError(t, err)
			require.Equal(t, "multipart/byteranges", kind)
			parts := multipart.NewReader(bytes.NewReader(body), params["boundary"])
			for _, want := range []span{{0, 10}, {100, 400001}, {2<<20 - 5, 2 << 20}} {
				part, err := parts.NextRawPart()
				require.NoError(t, err)
				require.Equal(t, "video/mp4", part.Header.Get("Content-Type"))
				require.Equal(t, string(want.appendTo(nil, 2<<20)), part.Header.Get("Content-Range"))
				got, err := io.ReadAll(part)
				require.NoError(t, err)
				require.True(t, bytes.Equal(s.data[want.start:want.end], got))
			}
			_, err = parts.NextRawPart()
			require.Equal(t, io.EOF, err)
		})
	}
}

func TestConditionsAndMethods(t *testing.T) {
	s := newSample(t, 1000, "mp4")
	server := httptest.NewServer(s)
	defer server.Close()
	tag := `"` + s.info.Hash.String() + `"`
	for _, tc := range []struct {
		name, method string
		header       map[string]string
		status       int
		length       int64
	}{
		{"whole", "GET", nil, 200, 1000},
		{"head", "HEAD", nil, 200, 1000},
		{"head ignores ranges", "HEAD", map[string]string{"Range": "bytes=0-1"}, 200, 1000},
		{"post", "POST", map[string]string{"Range": "bytes=0-1", "If-None-Match": tag}, 206, 2},
		{"not modified", "GET", map[string]string{"If-None-Match": tag}, 304, 0},
		{"not modified, head", "HEAD", map[string]string{"If-None-Match": tag}, 304, 0},
		{"not modified, weak", "GET", map[string]string{"If-None-Match": `"a", W/` + tag}, 304, 0},
		{"not modified, any", "GET", map[string]string{"If-None-Match": "*"}, 304, 0},
		{"not modified wins over range", "GET", map[string]string{"If-None-Match": tag, "Range": "bytes=0-1"}, 304, 0},
		{"modified", "GET", map[string]string{"If-None-Match": `"a", "b"`}, 200, 1000},
		{"nonsense", "GET", map[string]string{"If-None-Match": `abc`}, 200, 1000},
		{"unclosed", "GET", map[string]string{"If-None-Match": `"abc`}, 200, 1000},
		{"match", "GET", map[string]string{"If-Match": `"x",` + tag}, 200, 1000},
		{"match any", "GET", map[string]string{"If-Match": "*"}, 200, 1000},
		{"no match", "GET", map[string]string{"If-Match": `"x"`}, 412, 0},
		{"weak is no match", "GET", map[string]string{"If-Match": "W/" + tag}, 412, 0},
		{"dates are ignored", "GET", map[string]string{"If-Modified-Since": "Wed, 21 Oct 2065 07:28:00 GMT", "If-Unmodified-Since": "Wed, 21 Oct 2015 07:28:00 GMT"}, 200, 1000},
		{"if-range", "GET", map[string]string{"If-Range": tag, "Range": "bytes=0-1"}, 206, 2},
		{"if-range, other", "GET", map[string]string{"If-Range": `"x"`, "Range": "bytes=0-1"}, 200, 1000},
		{"if-range, weak", "GET", map[string]string{"If-Range": "W/" + tag, "Range": "bytes=0-1"}, 200, 1000},
		{"if-range, date", "GET", map[string]string{"If-Range": "Wed, 21 Oct 2015 07:28:00 GMT", "Range": "bytes=0-1"}, 200, 1000},
		{"if-range, other, unsatisfiable", "GET", map[string]string{"If-Range": `"x"`, "Range": "bytes=1000-"}, 200, 1000},
		{"malformed range", "GET", map[string]string{"Range": "bytes=x"}, 200, 1000},
		{"a thousand ranges", "GET", map[string]string{"Range": "bytes=" + strings.Repeat("0-0,", 1000)}, 200, 1000},
		{"beyond", "GET", map[string]string{"Range": "bytes=1000-"}, 416, -2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, body := get(t, server.Client(), tc.method, server.URL+"/x", tc.header)
			require.Equal(t, tc.status, resp.StatusCode)
			h := resp.Header
			require.Equal(t, "nosniff", h.Get("X-Content-Type-Options"))
			require.Equal(t, "no-referrer", h.Get("Referrer-Policy"))
			require.Empty(t, h.Get("Last-Modified"))
			switch tc.status {
			case 200, 206:
				require.Equal(t, tc.length, resp.ContentLength)
				require.Equal(t, tag, h.Get("Etag"))
				require.Equal(t, "video/mp4", h.Get("Content-Type"))
				require.Equal(t, "bytes", h.Get("Accept-Ranges"))
				require.Equal(t, "private, no-transform, no-cache", h.Get("Cache-Control"))
				if tc.method != "HEAD" {
					require.Len(t, body, int(tc.length))
				}
			case 304:
				require.Equal(t, tag, h.Get("Etag"))
				require.Empty(t, h.Get("Content-Type"))
				require.Empty(t, body)
			case 416:
				require.Equal(t, "bytes */1000", h.Get("Content-Range"))
				require.Empty(t, h.Get("Etag"))
				require.Equal(t, "416", h.Get("Oose-Code"))
				require.Contains(t, string(body), `"error"`)
			}
		})
	}
}

func TestEmptyContent(t *testing.T) {
	s := newSample(t, 0, "txt")
	for name, server := range servers(t, s) {
		for _, header := range []string{"", "bytes=0-", "bytes=-1", "bytes=0-0"} {
			resp, body := get(t, server.Client(), "GET", server.URL+"/x", map[string]string{"Range": header})
			require.Equal(t, 200, resp.StatusCode, name)
			require.Zero(t, resp.ContentLength)
			require.Empty(t, body)
		}
	}
}

func TestHeadersOfContent(t *testing.T) {
	for _, tc := range []struct{ ext, mediaType, policy string }{
		{"mp4", "video/mp4", ""},
		{"txt", "text/plain; charset=utf-8", ""},
		{"html", "text/html; charset=utf-8", sandbox},
		{"svg", "image/svg+xml", sandbox},
		{"xml", "application/xml", sandbox},
		{"pdf", "application/pdf", ""},
		{"nonsense", "application/octet-stream", ""},
	} {
		s := newSample(t, 10, tc.ext)
		s.info.CacheControl = "public, max-age=5"
		rec := httptest.NewRecorder()
		s.ServeHTTP(rec, httptest.NewRequest("GET", "/x?attach=h%C3%A9.txt&start=5", nil))
		require.Equal(t, 200, rec.Code)
		require.Equal(t, tc.mediaType, rec.Header().Get("Content-Type"))
		require.Equal(t, tc.policy, rec.Header().Get("Content-Security-Policy"))
		require.Equal(t, "public, max-age=5", rec.Header().Get("Cache-Control"))
		require.Equal(t, `attachment; filename="h_.txt"; filename*=UTF-8''h%C3%A9.txt`, rec.Header().Get("Content-Disposition"))
		require.Equal(t, s.data, rec.Body.Bytes())
	}
}

// Values that other handlers change in place must be this response's own.
func TestHeaderValuesAreNotShared(t *testing.T) {
	s := newSample(t, 10, "mp4")
	first := httptest.NewRecorder()
	s.ServeHTTP(first, httptest.NewRequest("GET", "/x", nil))
	for k, v := range first.Header() {
		v[0] = "spoiled"
		first.Header()[k] = append(v, "spoiled")
	}
	for _, v := range first.Header() {
		require.Equal(t, []string{"spoiled", "spoiled"}, v)
	}
	second := httptest.NewRecorder()
	s.ServeHTTP(second, httptest.NewRequest("GET", "/x", nil))
	for k, v := range second.Header() {
		require.NotContains(t, v, "spoiled", k)
	}
}

// What a response allocates does not depend on the size of the content.
func TestMemoryDoesNotGrowWithTheContent(t *testing.T) {
	s := newSample(t, 32<<20, "mp4")
	for _, loosen := range []bool{false, true} {
		send := func() { s.ServeHTTP(nowhere{http.Header{}}, httptest.NewRequest("GET", "/x", nil)) }
		if loosen {
			s.info.Loosen = func(*http.Request) (int64, func()) { return 64 << 10, func() {} }
		}
		send()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		send()
		runtime.ReadMemStats(&after)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
	}
}

// nowhere is a ResponseWriter that keeps nothing.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) WriteHeader(int)             {}
func (n nowhere) Write(p []byte) (int, error) { return len(p), nil }
