package store_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers/handlertest"
	"github.com/ooseio/oose/inventory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is one store of three.
type site struct {
	*handlertest.Rig
	url string
}

func newSite(t testing.TB, compat bool) *site {
	t.Helper()
	rig := handlertest.New(t, "prism1:store1", "prism1:store2", "prism2:store3")
	return &site{rig, newStore(t, rig, "prism1:store1", compat).URL}
}

func (s *site) post(t testing.TB, path, body string) handlertest.Answer {
	t.Helper()
	return handlertest.Post(t, s.url+path, body, "Authorization", "Basic "+basicAuth(storeUser))
}

func (s *site) put(t testing.TB, name, body string) handlertest.Answer {
	t.Helper()
	r, err := http.NewRequest("PUT", s.url+"/content/put/"+name, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Authorization", "Basic "+basicAuth(storeUser))
	return handlertest.Do(t, r)
}

func object(t testing.TB, a handlertest.Answer) map[string]any {
	t.Helper()
	var v map[string]any
	require.NoError(t, json.Unmarshal(a.Body, &v), "%d %s", a.Status, a.Body)
	return v
}

func requireFault(t testing.TB, a handlertest.Answer, status int, part string) {
	t.Helper()
	require.Equal(t, status, a.Status, "%s", a.Body)
	message, ok := object(t, a)["error"].(string)
	require.True(t, ok, "%s", a.Body)
	require.Contains(t, message, part)
	require.NotContains(t, string(a.Body), "/tmp")
}

var routes = []string{"/content/download", "/content/exists", "/content/detail", "/content/remove", "/content/send", "/content/verify"}

func TestPrivateRoutesNeedCredentials(t *testing.T) {
	s := newSite(t, false)
	for _, path := range routes {
		a := handlertest.Post(t, s.url+path, `{"hash":`)
		require.Equal(t, 401, a.Status)
		require.Equal(t, "Unauthorized", string(a.Body))
		a = handlertest.Post(t, s.url+path, `{}`, "Authorization", "Bearer x")
		requireFault(t, a, 400, "Authorization")
		r := httptest.NewRequest("GET", "http://x"+path, nil)
		u, err := r.URL.Parse(s.url + path)
		require.NoError(t, err)
		r.URL, r.RequestURI = u, ""
		a = handlertest.Do(t, r)
		requireFault(t, a, 405, "use POST")
		require.Equal(t, "POST, OPTIONS", a.Header.Get("Allow"))
	}
	for _, path := range []string{"/", "/ping", "/stats", "/ping/"} {
		require.Equal(t, 200, handlertest.Post(t, s.url+path, "").Status)
	}
}

func TestBadInput(t *testing.T) {
	s := newSite(t, false)
	fox := s.Put(t, "store1", "txt", handlertest.Fox).String()
	unknown := strings.Repeat("a", 40)
	for _, tt := range []struct {
		path, body string
		status     int
		message    string
	}{
		{"/content/download", `{`, 400, "not valid JSON"},
		{"/content/download", `{"hash":"../../etc/passwd"}`, 422, "File not found"},
		{"/content/download", `{"hash":"` + unknown + `"}`, 404, "File not found"},
		{"/content/detail", `{"hash":5}`, 400, `must be a string, not a number`},
		{"/content/detail", `{"hash":"` + unknown + `"}`, 404, "File not found"},
		{"/content/remove", `{"hash":"` + unknown + `"}`, 404, "File not found"},
		{"/content/remove", `{"hash":"` + fox[:38] + `"}`, 422, "File not found"},
		{"/content/exists", `{}`, 400, `"hash" is missing`},
		{"/content/verify", `{"file":"` + fox + `.txt","force":"maybe"}`, 400, `must be true or false`},
		{"/content/verify", `{"file":"x.txt"}`, 422, "does not begin with a hash"},
		{"/content/verify", `{"file":"a0/` + fox[2:] + `.txt"}`, 400, `"file" is not valid`},
		{"/content/verify", `{"file":"../` + fox + `.txt"}`, 422, "does not begin with a hash"},
		{"/content/verify", `{"file":"` + unknown + `.txt"}`, 404, "File not found"},
		{"/content/send", `{"file":"` + fox + `.txt","store":"prism1:nowhere"}`, 404, "Store not found"},
		{"/content/send", `{"file":"` + fox + `.txt","store":"prism2:store2"}`, 404, "Store not found"},
		{"/content/send", `{"file":"` + fox + `.txt","store":"a:b:c"}`, 404, "Store not found"},
		{"/content/send", `{"file":"` + unknown + `.txt","store":"prism1:store2"}`, 404, "Verify failed"},
	} {
		requireFault(t, s.post(t, tt.path, tt.body), tt.status, tt.message)
	}
}

func TestPut(t *testing.T) {
	s := newSite(t, false)
	fox := handlertest.HashOf(t, content.SHA1, handlertest.Fox).String()
	for range 2 {
		a := s.put(t, fox+".txt", handlertest.Fox)
		require.Equal(t, 201, a.Status, "%s", a.Body)
		require.JSONEq(t, `{"hash":"`+fox+`"}`, string(a.Body))
	}
	sha512 := handlertest.HashOf(t, content.SHA512, "x").String()
	require.Equal(t, 201, s.put(t, strings.ToUpper(sha512)+".MP4", "x").Status)

	requireFault(t, s.put(t, fox+".txt", "another body"), 409, "not those of the hash")
	requireFault(t, s.put(t, fox+".txt", strings.Repeat("x", 1<<20+1)), 413, "larger")
	requireFault(t, s.put(t, fox, "x"), 400, "no extension")
	requireFault(t, s.put(t, "..%2F"+fox+".txt", "x"), 422, "hash")
	a := s.post(t, "/content/download", `{"hash":"`+fox+`"}`)
	require.Equal(t, handlertest.Fox, string(a.Body), "a body of another digest destroys nothing")
	entries, err := os.ReadDir(filepath.Join(s.Store(t, "store1").Root(), "tmp"))
	require.NoError(t, err)
	for _, e := range entries {
		require.Equal(t, "health.part", e.Name())
	}
	v := s.Store(t, "store1")
	require.NoError(t, v.Configure(inventory.VolumeConfig{Name: v.Name(), Root: v.Root(), Reserve: 1 << 60}))
	requireFault(t, s.put(t, fox+".txt", handlertest.Fox), 507, "No store has room")
}

func TestExistsAndDetail(t *testing.T) {
	s := newSite(t, false)
	fox := s.Put(t, "store1", "txt", handlertest.Fox).String()
	upper := strings.ToUpper(fox)
	other := s.Put(t, "store2", "txt", "only on store2").String()
	a := s.post(t, "/content/exists", fmt.Sprintf(`{"sha1":[%q,%q,%q,"",5]}`, fox, upper, other))
	require.JSONEq(t, fmt.Sprintf(`{%q:{"exists":true,"ext":"txt"},%q:{"exists":true,"ext":"txt"},%q:{"exists":false,"ext":""},
		"":{"exists":false,"ext":""},"5":{"exists":false,"ext":""}}`, fox, upper, other), string(a.Body))
	require.JSONEq(t, `{"exists":{"exists":true,"ext":"txt"}}`, string(s.post(t, "/content/exists", `{"hash":"`+fox+`"}`).Body))

	detail := object(t, s.post(t, "/content/detail", `{"hash":"`+fox+`"}`))
	hashDetail := detail["hashDetail"].(map[string]any)
	stat := hashDetail["stat"].(map[string]any)
	require.EqualValues(t, 16, stat["size"])
	require.NotEmpty(t, stat["mtime"])
	delete(detail, "hashDetail")
	require.Equal(t, map[string]any{
		"hash": fox, "mimeExtension": "txt", "mimeType": "text/plain", "prism": "prism1", "store": "store1", "size": 16.0,
		"relativePath": "a0/3f/18/1d/c7/de/dc/fb/57/75/11/14/9b/88/44/71/1e/fd/b0/4f.txt",
	}, detail)
	require.Equal(t, "sha1", hashDetail["type"])
	require.Equal(t, true, hashDetail["exists"])
}

func TestVerifyAndRemove(t *testing.T) {
	for _, compat := range []bool{false, true} {
		s := newSite(t, compat)
		for _, body := range []string{"one", "two", "three"} {
			s.Put(t, "store1", "txt", body)
		}
		hash := func(body string) string { return handlertest.HashOf(t, content.SHA1, body).String() }
		v := object(t, s.post(t, "/content/verify", `{"file":"`+hash("one")+`.txt","force":1}`))
		require.Equal(t, "Verification complete", v["success"])
		require.Equal(t, "ok", v["status"])
		require.Equal(t, false, v["verifySkipped"])
		require.Equal(t, true, v["verified"])
		v = object(t, s.post(t, "/content/verify", `{"file":"`+hash("one")+`"}`))
		require.Equal(t, true, v["verifySkipped"])
		require.Equal(t, hash("one"), v["actualHash"])

		spoil(t, s.Rig, "two", "txt", "2wo")
		v = object(t, s.post(t, "/content/verify", `{"file":"`+hash("two")+`.txt","force":true}`))
		require.Equal(t, "fail", v["status"])
		require.Equal(t, hash("2wo"), v["actualHash"])
		require.Equal(t, 404, s.post(t, "/content/verify", `{"file":"`+hash("two")+`.txt"}`).Status)
		require.JSONEq(t, `{"exists":{"exists":false,"ext":""}}`, string(s.post(t, "/content/exists", `{"hash":"`+hash("two")+`"}`).Body))

		spoil(t, s.Rig, "three", "txt", "thre3")
		a := s.post(t, "/content/remove", `{"hash":"`+hash("three")+`"}`)
		require.Equal(t, map[bool]int{false: 409, true: 200}[compat], a.Status)
		require.Equal(t, "File verify failed", object(t, a)["error"])

		a = s.post(t, "/content/remove", `{"hash":"`+hash("one")+`"}`)
		require.Equal(t, 200, a.Status)
		removed := object(t, a)
		require.Equal(t, "File removed", removed["success"])
		require.Equal(t, hash("one"), removed["fileDetail"].(map[string]any)["hash"])
		require.Equal(t, "ok", removed["verifyDetail"].(map[string]any)["status"])
		requireFault(t, s.post(t, "/content/remove", `{"hash":"`+hash("one")+`"}`), 404, "File not found")
	}
}

func TestSend(t *testing.T) {
	s := newSite(t, false)
	fox := s.Put(t, "store1", "txt", handlertest.Fox).String()
	for range 2 {
		a := s.post(t, "/content/send", `{"file":"`+fox+`.md","store":"prism2:store3"}`)
		require.Equal(t, 200, a.Status, "%s", a.Body)
		sent := object(t, a)
		require.Equal(t, "Clone sent", sent["success"])
		require.Equal(t, fox+".md", sent["file"])
		require.Equal(t, "store3", sent["store"].(map[string]any)["name"])
	}
	c, ok, err := s.Store(t, "store3").Has(t.Context(), handlertest.HashOf(t, content.SHA1, handlertest.Fox))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "md", c.Ext)
	spoil(t, s.Rig, handlertest.Fox, "txt", "spoiled")
	requireFault(t, s.post(t, "/content/send", `{"file":"`+fox+`.txt","store":"prism1:store2"}`), 404, "Verify failed")
	_, ok, err = s.Store(t, "store2").Has(t.Context(), c.Hash)
	require.NoError(t, err)
	require.False(t, ok)
}

func TestOfflineStore(t *testing.T) {
	s := newSite(t, false)
	fox := s.Put(t, "store1", "txt", handlertest.Fox).String()
	require.NoError(t, s.Store(t, "store1").Close())
	for _, path := range []string{"/content/download", "/content/exists", "/content/detail", "/content/remove"} {
		a := s.post(t, path, `{"hash":"`+fox+`"}`)
		requireFault(t, a, 503, "can't be used now")
		require.NotEmpty(t, a.Header.Get("Retry-After"))
	}
	requireFault(t, s.post(t, "/content/verify", `{"file":"`+fox+`.txt"}`), 503, "can't be used now")
	requireFault(t, s.put(t, fox+".txt", handlertest.Fox), 503, "")
	require.Equal(t, 200, s.post(t, "/ping", "").Status)
}
