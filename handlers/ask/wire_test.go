package ask

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
)

func TestServe(t *testing.T) {
	w := stores(t, "s1")
	s1 := w.nodes["s1"]
	h := s1.hold(1).String()
	many, err := json.Marshal(make([]string, maxKeys+1))
	require.NoError(t, err)
	for _, c := range []struct {
		method, body string
		status       int
		part         string
	}{
		{"POST", `{"topic":"inventory","key":"` + h + `"}`, 200, `"sure":true`},
		{"POST", `{"topic":"inventory","keys":["` + h + `","x"]}`, 200, `"member":"store-of-s1"`},
		{"POST", `{"topic":"user","key":"alice"}`, 200, `{"records":[],"sure":true}`},
		{"POST", `{"topic":"certificate","key":"x"}`, 400, "not told"},
		{"POST", `{"topic":"switch","key":"x"}`, 400, "not told"},
		{"POST", `{"topic":"inventory"}`, 400, "1 to 256"},
		{"POST", `{"topic":"inventory","keys":` + string(many) + `}`, 400, "1 to 256"},
		{"POST", `{"topic":"inventory","key":"` + strings.Repeat("x", 256) + `"}`, 400, "not valid"},
		{"POST", `{"topic":"inventory","key":"\u0000"}`, 400, "not valid"},
		{"POST", `{"topic":`, 400, "JSON"},
		{"POST", ``, 400, "not told"},
		{"POST", `{"topic":"inventory","key":"` + strings.Repeat("x", 1<<20) + `"}`, 413, "larger"},
		{"GET", ``, 405, "POST"},
		{"OPTIONS", ``, 204, ""},
	} {
		r := httptest.NewRequest(c.method, Path, strings.NewReader(c.body))
		answer := httptest.NewRecorder()
		s1.asker.ServeHTTP(answer, r)
		require.Equal(t, c.status, answer.Code, "%.80s: %s", c.body, answer.Body)
		require.Contains(t, answer.Body.String(), c.part, "%.80s", c.body)
	}
	s1.engine.Fail(record.ErrUnavailable)
	answer := httptest.NewRecorder()
	s1.asker.ServeHTTP(answer, httptest.NewRequest("POST", Path, strings.NewReader(`{"topic":"user","key":"x"}`)))
	require.Equal(t, http.StatusServiceUnavailable, answer.Code)
	require.NotEmpty(t, answer.Header().Get("Retry-After"))
}

// An answer is cut where it would become too long, and then is not sure.
func TestLongAnswerIsCut(t *testing.T) {
	w := stores(t, "s1")
	s1 := w.nodes["s1"]
	var keys []string
	for i := range maxKeys {
		key := fmt.Sprint(i)
		keys = append(keys, key)
		_, err := s1.engine.Update(t.Context(), record.User, key, record.Condition{}, record.Change{Value: make([]byte, record.MaxValue)})
		require.NoError(t, err)
	}
	answer, err := s1.asker.read(t.Context(), related[record.User], keys)
	require.NoError(t, err)
	require.False(t, answer.Sure)
	body, err := json.Marshal(answer)
	require.NoError(t, err)
	require.Less(t, len(body), maxBody)
	answer, err = s1.asker.read(t.Context(), related[record.User], keys[:10])
	require.NoError(t, err)
	require.True(t, answer.Sure)
	require.Len(t, answer.Records, 10)
}

// FuzzAnswer reads what another node may answer: what passes can be imported.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"records":[{"topic":"purchase","key":"k","source":"s","time":"1","revision":1,"value":"e30="}],"sure":true}`))
	f.Add([]byte(`{"records":[{"topic":"use","key":"k","source":"s","time":"1","revision":1,"deleted":true}]}`))
	f.Add([]byte(`{"records":[{"topic":"purchase","key":"k","source":"own","time":"18446744073709551615","revision":1}]}`))
	f.Add([]byte(`{"records":[{"topic":"purchase","key":"k","source":"s","time":"1"}]}`))
	f.Add([]byte(`{"records":null,"sure":1}`))
	engine := newEngine("own")
	a := New(Deps{Engine: engine, Nodes: func() []Node { return nil }})
	f.Cleanup(a.Close)
	f.Fuzz(func(t *testing.T, body []byte) {
		var answer wireAnswer
		if json.Unmarshal(body, &answer) != nil {
			return
		}
		told, err := a.check(t.Context(), &answer, record.Purchase, []string{"k"})
		if err != nil {
			require.Empty(t, told.records)
			return
		}
		for _, r := range told.records {
			require.Equal(t, "k", r.Key)
			require.NotEqual(t, "own", r.Source)
			require.NoError(t, record.CheckRecord(r))
		}
	})
}

// FuzzQuestion answers whatever a body asks: 200 or 400, and never with what
// is not told.
func FuzzQuestion(f *testing.F) {
	f.Add(`{"topic":"user","key":"alice"}`)
	f.Add(`{"topic":"purchase","keys":["a","b"],"key":"c"}`)
	f.Add(`{"topic":"certificate","key":"a"}`)
	f.Add(`{"topic":1}`)
	engine := newEngine("own")
	a := New(Deps{Engine: engine, Nodes: func() []Node { return nil }})
	f.Cleanup(a.Close)
	f.Fuzz(func(t *testing.T, body string) {
		w := httptest.NewRecorder()
		a.ServeHTTP(w, httptest.NewRequest("POST", Path, strings.NewReader(body)))
		require.Contains(t, []int{200, 400}, w.Code)
	})
}
