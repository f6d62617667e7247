package adminapi

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/record"
)

// deadlineRecorder notes the deadlines that a handler sets.
type deadlineRecorder struct {
	*httptest.ResponseRecorder
	read, write []time.Time
}

func (d *deadlineRecorder) SetReadDeadline(t time.Time) error {
	d.read = append(d.read, t)
	return nil
}

func (d *deadlineRecorder) SetWriteDeadline(t time.Time) error {
	d.write = append(d.write, t)
	return nil
}

// adminWith returns the routes over a node that is given, or not there.
func adminWith(open func() (*parts, error)) *http.ServeMux {
	a := &api{log: zap.NewNop(), open: open}
	mux := http.NewServeMux()
	for _, route := range a.Routes() {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			var refused caddy.APIError
			if err := route.Handler.ServeHTTP(w, r); errors.As(err, &refused) {
				w.WriteHeader(refused.HTTPStatus)
				io.WriteString(w, refused.Err.Error())
			}
		})
	}
	return mux
}

func TestAdminWithoutNode(t *testing.T) {
	mux := adminWith(activeParts) // no configuration is loaded
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/oose/status", nil))
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Contains(t, w.Body.String(), `{"error":"The configuration of this server has no OOSE in it`)
	require.NotEmpty(t, w.Header().Get("Retry-After"))
}

func TestAdminMethods(t *testing.T) {
	released := 0
	mux := adminWith(func() (*parts, error) {
		return &parts{report: func() any { return map[string]int{"a": 1} }, release: func() { released++ }}, nil
	})
	for _, tt := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/oose/status", 200, ""},
		{"HEAD", "/oose/status", 200, ""},
		{"POST", "/oose/status", 405, "GET, HEAD, OPTIONS"},
		{"OPTIONS", "/oose/put", 204, "POST, OPTIONS"},
		{"GET", "/oose/put", 405, "POST, OPTIONS"},
		{"PATCH", "/oose/users/alice", 405, "DELETE, GET, HEAD, PUT, OPTIONS"},
		{"GET", "/oose/", 404, ""},
		{"GET", "/oose/drain", 405, "POST, OPTIONS"},
		{"POST", "/oose/nothing", 404, ""},
		{"GET", "/oose/status/more", 404, ""},
	} {
		t.Run(tt.method+tt.path, func(t *testing.T) {
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
			require.Equal(t, tt.status, w.Code)
			require.Equal(t, tt.allow, w.Header().Get("Allow"))
			if tt.status >= 400 {
				require.Contains(t, w.Body.String(), `{"error":"`)
				require.Contains(t, w.Header().Get("Content-Type"), "application/json")
			}
		})
	}
	require.Equal(t, 2, released, "the node is let go after each request")
}

func TestAdminLiftsDeadlines(t *testing.T) {
	mux := adminWith(func() (*parts, error) {
		return &parts{report: func() any { return nil }, release: func() {}}, nil
	})
	w := &deadlineRecorder{ResponseRecorder: httptest.NewRecorder()}
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/oose/status", nil))
	require.Equal(t, []time.Time{{}}, w.read)
	require.Equal(t, []time.Time{{}}, w.write)
}

func streamedBy(work func(*lineStream) (any, error)) (*httptest.ResponseRecorder, error) {
	w := httptest.NewRecorder()
	c := &call{w: w, r: httptest.NewRequest(http.MethodPost, "/oose/scan", nil), log: zap.NewNop()}
	return w, c.streamed(work)
}

func TestStreamed(t *testing.T) {
	w, err := streamedBy(func(s *lineStream) (any, error) {
		tell := s.progress("om101")
		tell(inventory.ScanProgress{Files: 1})
		tell(inventory.ScanProgress{Files: 2}) // too soon after the first
		return map[string]int{"n": 3}, nil
	})
	require.NoError(t, err)
	require.Equal(t, "application/x-ndjson", w.Header().Get("Content-Type"))
	require.True(t, w.Flushed)
	lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
	require.Len(t, lines, 2)
	require.JSONEq(t, `{"progress":{"store":"om101","folders":0,"files":1,"hashed":0,"bytes":0}}`, lines[0])
	require.JSONEq(t, `{"result":{"n":3}}`, lines[1])

	refused := handlers.Faultf(handlers.DiskFull, "No room")
	w, err = streamedBy(func(*lineStream) (any, error) { return nil, refused })
	require.Same(t, refused, err, "an error that comes at once has its own status")
	require.Empty(t, w.Body.String())

	w, err = streamedBy(func(s *lineStream) (any, error) {
		s.progress("om101")(inventory.ScanProgress{})
		return nil, refused
	})
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(w.Body.String(), "{\"error\":\"No room\"}\n"))
}

func TestAdminErrors(t *testing.T) {
	a := &api{log: zap.NewNop()}
	for _, tt := range []struct {
		err    error
		status int
		says   string
	}{
		{handlers.Faultf(handlers.InvalidHash, "not a hash"), 422, "not a hash"},
		{record.ErrUnavailable, 503, "records are not available"},
		{volumeFault(nil, record.ErrUnavailable), 503, "records are not available"},
		{errors.New("/secret/path broke"), 500, "the server's log has the cause"},
	} {
		w := httptest.NewRecorder()
		require.NoError(t, a.answer(w, httptest.NewRequest("GET", "/oose/status", nil), tt.err))
		require.Equal(t, tt.status, w.Code)
		require.Contains(t, w.Body.String(), tt.says)
		require.NotContains(t, w.Body.String(), "/secret/path")
	}
	refused := conflict("declared")
	require.Equal(t, refused, a.answer(nil, nil, refused), "Caddy answers and logs it")
}
