package handlers

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzHashes reads bodies about hashes as a stream: what passes is valid JSON
// that the plain decoder reads alike.
func FuzzHashes(f *testing.F) {
	for _, seed := range []string{
		`{"hash":"a"}`, `{"sha1":["a","b","a",5,""]}`, `{"x":{"y":[1,{}]},"hash":[],"timeout":5,"retryCount":"2"}`,
		`{"hash":"a","hash":["b"]}`, `{"hash":`, `[]`, `{"hash":null}`, `{"hash":["\u0000\ud800"]} `, `{"hash":"a"}}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		q, err := decodeHashes(strings.NewReader(body))
		if err != nil {
			var fault *Fault
			require.ErrorAs(t, bodyFault(err), &fault)
			return
		}
		require.True(t, json.Valid([]byte(body)), "%q", body)
		require.True(t, q.Many || len(q.Hashes) == 1)
		seen := map[string]bool{}
		for _, asked := range q.Hashes {
			require.False(t, seen[asked.Text])
			seen[asked.Text] = true
			_, err := json.Marshal(asked.Value())
			require.NoError(t, err)
		}
	})
}

func TestHashesAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"hash":[0`)
	for i := 1; i <= maxAsked; i++ {
		b.WriteByte(',')
		n, _ := json.Marshal(i)
		b.Write(n)
	}
	b.WriteString(`]}`)
	_, err := decodeHashes(strings.NewReader(b.String()))
	var fault *Fault
	require.ErrorAs(t, err, &fault)
	require.Equal(t, TooLarge, fault.Code)
}

func TestCountersNest(t *testing.T) {
	var c Counters
	c.Add("a.b", 2)
	c.Add("a", 1)
	c.Add("a.b.c", 3)
	c.Fail("a.b", 1)
	want := map[string]any{
		"stat":  map[string]any{"a": map[string]any{"total": int64(1), "b": map[string]any{"total": int64(2), "c": int64(3)}}},
		"error": map[string]any{"a": map[string]any{"b": int64(1)}},
	}
	for range 20 { // whatever the order of the names
		require.Equal(t, want, c.Snapshot())
	}
	require.Equal(t, 4, c.Reset())
	require.Equal(t, map[string]any{"stat": map[string]any{}}, c.Snapshot())
	(*Counters)(nil).Add("a", 1)
	require.Empty(t, (*Counters)(nil).Flat())
}

func TestEveryCodeHasItsStatuses(t *testing.T) {
	for code, row := range statuses {
		require.NotEmpty(t, string(row.reason), code)
		for _, status := range []int{code.Status(false), code.Status(true)} {
			require.True(t, status == 200 || status >= 400 && status < 600, code)
		}
		require.NotEqual(t, 200, code.Status(false), "a failure is none of the modern statuses of success: %s", code)
	}
}

func TestParseFile(t *testing.T) {
	hash := strings.Repeat("Ab", 20)
	h, ext, err := ParseFile(hash + ".MP4")
	require.NoError(t, err)
	require.Equal(t, strings.ToLower(hash), h.String())
	require.Equal(t, "mp4", ext)
	require.Equal(t, strings.Repeat("ab/", 19)+"ab.mp4", RelativePath(h, ext))
	for _, bad := range []string{"", ".", ".mp4", hash, hash + ".", hash + ".a.b", hash + "./x", "../" + hash + ".mp4", hash + ".mp4\x00", hash[:39] + ".mp4"} {
		_, _, err := ParseFile(bad)
		require.Error(t, err, bad)
	}
	for path, want := range map[string]string{
		"/content/put/a.b": "a.b", "/content/put/..%2Fa.b": "../a.b", "/content/put/": "", "/content/put/a/b": "", "/content/put": "", "/content/put/%zz": "",
	} {
		name, ok := PutPath(path)
		require.Equal(t, want != "", ok, path)
		if ok {
			require.Equal(t, want, name)
		}
	}
}
