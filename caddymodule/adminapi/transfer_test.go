package adminapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/journal"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/export"
	"github.com/ooseio/oose/record/recordtest"
)

// withEngine returns the admin routes over an engine alone.
func withEngine(e record.Engine) *http.ServeMux {
	return adminWith(func() (*parts, error) {
		return &parts{engine: e, counters: new(handlers.Counters), release: func() {}}, nil
	})
}

func ask(mux *http.ServeMux, method, target string, body io.Reader) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(method, target, body))
	return w
}

func filled(t *testing.T, n int) *recordtest.Memory {
	t.Helper()
	m := recordtest.NewMemory(nil)
	for i := range n {
		_, err := m.Update(t.Context(), record.User, fmt.Sprint("user", i), record.Condition{}, record.Change{Value: []byte(`{"a":"<&>"}`)})
		require.NoError(t, err)
	}
	return m
}

func TestExportAndImport(t *testing.T) {
	m := filled(t, 2000)
	w := ask(withEngine(m), http.MethodGet, "/oose/export", nil)
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "application/x-ndjson", w.Header().Get("Content-Type"))
	text := w.Body.Bytes()
	require.Equal(t, 2002, bytes.Count(text, []byte("\n")))

	to := recordtest.NewMemoryOf("to", nil)
	for _, want := range []string{`{"records":2000,"taken":2000,"left":0,"expired":0,"ahead":0}`, `{"records":2000,"taken":0,"left":2000,"expired":0,"ahead":0}`} {
		w = ask(withEngine(to), http.MethodPost, "/oose/import", bytes.NewReader(text))
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		require.JSONEq(t, want, w.Body.String())
	}
	w = ask(withEngine(m), http.MethodGet, "/oose/export?position="+url.QueryEscape(`{"memory":1990}`), nil)
	require.Equal(t, 12, bytes.Count(w.Body.Bytes(), []byte("\n")), "what is behind the position")
	w = ask(withEngine(m), http.MethodHead, "/oose/export", nil)
	require.Equal(t, http.StatusOK, w.Code)
	require.Zero(t, w.Body.Len())
	for _, bad := range []string{"7", `{"a":-1}`, `{"a":"x"}`, "{"} {
		w = ask(withEngine(m), http.MethodGet, "/oose/export?position="+url.QueryEscape(bad), nil)
		require.Equal(t, http.StatusBadRequest, w.Code, bad)
	}
}

// counted is an engine that tells how many records it has.
type counted struct{ *recordtest.Memory }

func (counted) Stats() journal.Stats {
	return journal.Stats{Records: map[record.Topic]int64{record.User: 3, record.Peer: 4}}
}

func TestExportTellsTheCount(t *testing.T) {
	require.Equal(t, "7", ask(withEngine(counted{filled(t, 1)}), http.MethodGet, "/oose/export", nil).Header().Get(RecordsHeader))
}

// breaking is an engine that fails in the middle of a walk.
type breaking struct {
	*recordtest.Memory
	after int
}

func (b breaking) Walk(ctx context.Context, since record.Position) iter.Seq2[record.Record, error] {
	return func(yield func(record.Record, error) bool) {
		n := 0
		for r, err := range b.Memory.Walk(ctx, since) {
			if n++; n > b.after {
				r, err = record.Record{}, record.ErrUnavailable
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

func TestExportFails(t *testing.T) {
	w := ask(withEngine(breaking{filled(t, 5000), 10}), http.MethodGet, "/oose/export", nil)
	require.Equal(t, http.StatusServiceUnavailable, w.Code, "before anything was sent it is an answer of its own")
	require.Contains(t, w.Header().Get("Content-Type"), "application/json")

	w = ask(withEngine(breaking{filled(t, 5000), 4000}), http.MethodGet, "/oose/export", nil)
	require.Equal(t, http.StatusOK, w.Code)
	r, err := export.NewReader(w.Body)
	for err == nil {
		_, err = r.Next()
	}
	require.ErrorIs(t, err, export.ErrTruncated)
	require.ErrorContains(t, err, "who wrote it failed")
	require.Equal(t, uint64(4000), r.Records())
}

func TestExportToNobody(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := &api{log: zap.NewNop()}
	c := &call{parts: &parts{engine: filled(t, 3)}, w: httptest.NewRecorder(), r: httptest.NewRequest(http.MethodGet, "/oose/export", nil).WithContext(ctx), log: a.log}
	require.Error(t, c.export())
}

func TestImportRefuses(t *testing.T) {
	text := ask(withEngine(filled(t, 1000)), http.MethodGet, "/oose/export", nil).Body.Bytes()
	half := text[:len(text)/2]
	for name, c := range map[string]struct {
		path   string
		body   []byte
		status int
		says   string
	}{
		"no export":       {"", []byte("hello\n"), 400, "this is no sound export"},
		"empty":           {"", nil, 400, "not complete"},
		"empty, take it":  {"?incomplete", nil, 400, "not complete"},
		"half":            {"", half, 400, "not complete: it breaks off after"},
		"half, take it":   {"?incomplete", half, 200, `"incomplete":true`},
		"damaged, all":    {"?incomplete", bytes.Replace(text, []byte("user7\""), []byte("user8\""), 1), 400, "its sum does not agree"},
		"damaged, a line": {"", bytes.Replace(text, []byte(`"revision":9,`), []byte(`"revision":x,`), 1), 400, "line 10"},
	} {
		to := recordtest.NewMemoryOf("to", nil)
		w := ask(withEngine(to), http.MethodPost, "/oose/import"+c.path, bytes.NewReader(c.body))
		require.Equal(t, c.status, w.Code, name)
		require.Contains(t, w.Body.String(), c.says, name)
	}
	to := recordtest.NewMemoryOf("to", nil)
	to.Fail(record.ErrUnavailable)
	w := ask(withEngine(to), http.MethodPost, "/oose/import", bytes.NewReader(text))
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Contains(t, w.Body.String(), "may be repeated")

	w = ask(withEngine(struct{ record.Engine }{to}), http.MethodPost, "/oose/import", bytes.NewReader(text))
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	var answer map[string]string
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer))
	require.Contains(t, answer["error"], "takes no records")
}

// TestImportRefusedEarly: who goes on sending reads the refusal all the same.
func TestImportRefusedEarly(t *testing.T) {
	server := httptest.NewServer(withEngine(recordtest.NewMemory(nil)))
	t.Cleanup(server.Close)
	for range 20 {
		body := io.MultiReader(bytes.NewReader([]byte("hello\n")), bytes.NewReader(make([]byte, 8<<20)))
		resp, err := server.Client().Post(server.URL+"/oose/import", "application/x-ndjson", body)
		require.NoError(t, err)
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusBadRequest, resp.StatusCode)
		require.Contains(t, string(text), "no sound export")
	}
}
