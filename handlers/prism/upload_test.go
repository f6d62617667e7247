package prism_test

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers/handlertest"
	"github.com/ooseio/oose/handlers/prism"
	"github.com/ooseio/oose/inventory"
)

// form builds a multipart body.
type form struct {
	b bytes.Buffer
	w *multipart.Writer
}

func newForm() *form {
	f := &form{}
	f.w = multipart.NewWriter(&f.b)
	return f
}

func (f *form) field(name, value string) *form {
	_ = f.w.WriteField(name, value)
	return f
}

func (f *form) file(key, name, mediaType, body string) *form {
	h := textproto.MIMEHeader{"Content-Disposition": {fmt.Sprintf(`form-data; name=%q; filename=%q`, key, name)}}
	if mediaType != "" {
		h.Set("Content-Type", mediaType)
	}
	p, _ := f.w.CreatePart(h)
	_, _ = io.WriteString(p, body)
	return f
}

// upload sends a form, without cut bytes at its end.
func (s *site) upload(t testing.TB, f *form, cut int) handlertest.Answer {
	t.Helper()
	require.NoError(t, f.w.Close())
	body := f.b.Bytes()
	r, err := http.NewRequest("POST", s.url+"/content/upload", bytes.NewReader(body[:len(body)-cut]))
	require.NoError(t, err)
	r.Header.Set("Content-Type", f.w.FormDataContentType())
	r.Header.Set(tokenHeader, s.session)
	return handlertest.Do(t, r)
}

func TestUploadOfManyFiles(t *testing.T) {
	s := newSite(t, nil)
	f := newForm().
		field("title", "a title").field("hashType", "md5").
		file("a", "one.txt", "text/plain; charset=utf-8", "one").
		file("a", `C:\films\two.mp4`, "", "two").
		field("hashType", "SHA256").
		file("b", "three.unknown", "video/webm", "three").
		file("c", "", "application/octet-stream", "").
		file("c", "", "application/octet-stream", "four").
		field("title", "the last one")
	a := s.upload(t, f, 0)
	require.Equal(t, 200, a.Status, "%s", a.Body)
	require.Equal(t, "2", a.Header.Get("OOSE-Durability"))
	answer := object(t, a)
	require.Equal(t, "File(s) uploaded", answer["success"])
	require.Equal(t, map[string]any{"title": "the last one", "hashType": "sha256"}, answer["data"])
	files, list := answer["files"].(map[string]any), answer["list"].([]any)
	require.Len(t, files, 3)
	require.Len(t, list, 4)
	require.Equal(t, list[1], files["a"], "the last file of a field")

	want := []struct{ key, name, ext, mimetype, hashType, body string }{
		{"a", "one.txt", "txt", "text/plain", "md5", "one"},
		{"a", `C:\films\two.mp4`, "mp4", "application/octet-stream", "md5", "two"},
		{"b", "three.unknown", "webm", "video/webm", "sha256", "three"},
		{"c", "", "bin", "application/octet-stream", "sha256", "four"},
	}
	for i, w := range want {
		got := list[i].(map[string]any)
		typ, err := content.ParseType(w.hashType)
		require.NoError(t, err)
		hash := handlertest.HashOf(t, typ, w.body).String()
		require.NotEmpty(t, got["tmpfile"])
		require.NotContains(t, got["tmpfile"], "/")
		delete(got, "tmpfile")
		require.Equal(t, map[string]any{
			"key": w.key, "name": w.name, "encoding": "7bit", "mimetype": w.mimetype, "ext": w.ext,
			"hash": hash, "hashType": w.hashType, w.hashType: hash,
		}, got)
		d := s.post(t, "/content/download", `{"hash":"`+hash+`"}`)
		require.Equal(t, w.body, string(d.Body))
		require.EqualValues(t, 2, object(t, s.post(t, "/content/detail", `{"hash":"`+hash+`"}`))["count"])
	}
	s.requireNoTemp(t)
	require.EqualValues(t, 4, s.Counters.Flat()["stat.prism.content.filesUploaded"])
}

func TestUploadOfMoreFilesThanAreHeldBack(t *testing.T) {
	s := newSite(t, nil)
	f := newForm()
	for i := range 40 {
		f.file("f", fmt.Sprintf("%d.txt", i), "text/plain", fmt.Sprintf("file %d", i%30))
	}
	a := s.upload(t, f, 0)
	require.Equal(t, 200, a.Status, "%s", a.Body)
	require.Len(t, object(t, a)["list"], 40)
	require.Len(t, s.files(t, "content"), 60)
	s.requireNoTemp(t)
}

func TestUploadWithoutFiles(t *testing.T) {
	s := newSite(t, nil)
	require.JSONEq(t, `{"success":"File(s) uploaded","data":{"a":"1"},"files":{},"list":[]}`,
		string(s.upload(t, newForm().field("a", "1"), 0).Body))
	a := handlertest.Post(t, s.url+"/content/upload", "a=1&b=2", tokenHeader, s.session, "Content-Type", "application/x-www-form-urlencoded")
	require.JSONEq(t, `{"success":"File(s) uploaded","data":{"a":"1","b":"2"},"files":{},"list":[]}`, string(a.Body))
}

func TestUploadRefused(t *testing.T) {
	many := newForm()
	for range 1001 {
		many.field("a", "1")
	}
	header := newForm()
	p, err := header.w.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {`form-data; name="a"; filename="a"`}, "X-Long": {strings.Repeat("x", 100<<10)},
	})
	require.NoError(t, err)
	_, err = p.Write([]byte("x"))
	require.NoError(t, err)
	file := func() *form { return newForm().file("a", "a.txt", "text/plain", "the file") }
	ending := len("\r\n--") + len(file().w.Boundary()) + len("--\r\n")
	fields := newForm()
	for i := range 20 {
		fields.field(fmt.Sprint(i), strings.Repeat("x", 60<<10))
	}
	tests := map[string]struct {
		form    *form
		cut     int
		status  int
		message string
	}{
		"unknown digest":                {newForm().field("hashType", "sha0").file("a", "a.txt", "", "x"), 0, 400, `"hashType" is not known`},
		"larger than allowed":           {newForm().file("a", "a.txt", "", strings.Repeat("x", 1001)), 0, 413, "larger"},
		"second larger than allowed":    {file().file("b", "b.txt", "", strings.Repeat("x", 1001)), 0, 413, "larger"},
		"many parts":                    {many, 0, 413, "more than 1000 parts"},
		"long header":                   {header, 0, 400, "before a part's content"},
		"long field":                    {newForm().field("a", strings.Repeat("x", 65<<10)), 0, 413, "fields are larger"},
		"long fields":                   {fields, 0, 413, "fields are larger"},
		"no end at all":                 {file(), ending, 400, "without its last boundary"},
		"cut in the file":               {file(), ending + 3, 400, "without its last boundary"},
		"cut in the last boundary":      {file(), 10, 400, "without its last boundary"},
		"cut before the last dashes":    {file(), 4, 400, "without its last boundary"},
		"cut in the next part":          {file().file("b", "b", "", "x"), ending + 20, 400, "without its last boundary"},
		"cut in a field":                {newForm().field("a", "value"), ending + 2, 400, "without its last boundary"},
		"cut at its beginning":          {newForm(), 8, 400, "without its last boundary"},
		"second file of unknown digest": {file().field("hashType", "x"), 0, 400, `"hashType" is not known`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, func(_ *prism.Deps, set *prism.Settings) { set.MaxSize = 1000 })
			requireFault(t, s.upload(t, tt.form, tt.cut), tt.status, tt.message)
			s.requireNothingLeft(t)
		})
	}
}

// TestUploadOfADisconnectingClient breaks off in the middle of a file.
func TestUploadOfADisconnectingClient(t *testing.T) {
	s := newSite(t, nil)
	f := newForm().file("a", "a.txt", "text/plain", strings.Repeat("x", 3<<20))
	for _, path := range []string{"/content/upload", "/content/put/" + strings.Repeat("a", 40) + ".txt"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		require.NoError(t, err)
		method, auth := "POST", tokenHeader+": "+s.session
		if strings.Contains(path, "put") {
			method, auth = "PUT", "Authorization: Basic "+basicAuth(prismUser)
		}
		_, err = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nContent-Type: %s\r\n%s\r\n\r\n", method, path, 4<<20, f.w.FormDataContentType(), auth)
		require.NoError(t, err)
		_, err = conn.Write(f.b.Bytes()[:2<<20])
		require.NoError(t, err)
		require.Eventually(t, func() bool { return len(s.files(t, "tmp")) > 0 }, 10e9, 1e6)
		require.NoError(t, conn.Close())
		s.requireNothingLeft(t)
	}
}

func TestUploadWithoutRoomOrStores(t *testing.T) {
	for _, compat := range []bool{false, true} {
		s := newSite(t, func(_ *prism.Deps, set *prism.Settings) { set.Compat = compat })
		status := func(modern int) int {
			if compat {
				return 200
			}
			return modern
		}
		for _, v := range s.Volumes() {
			require.NoError(t, v.Configure(inventory.VolumeConfig{Name: v.Name(), Root: v.Root(), Reserve: 1 << 60}))
		}
		requireFault(t, s.upload(t, newForm().file("a", "a.txt", "", "x"), 0), status(507), "No store has room")
		for _, v := range s.Volumes() {
			require.NoError(t, v.Configure(inventory.VolumeConfig{Name: v.Name(), Root: v.Root()}))
			require.Eventually(t, v.Writable, 10e9, 1e6)
		}
		require.Equal(t, 200, s.upload(t, newForm().file("a", "a.txt", "", "x"), 0).Status, "room came back")
		for _, v := range s.Volumes() {
			require.NoError(t, v.Close())
		}
		requireFault(t, s.upload(t, newForm().file("a", "a.txt", "", "x"), 0), status(503), "No store can take")
	}
}

func TestUploadsOfTheSameAtOnce(t *testing.T) {
	s := newSite(t, nil)
	body := strings.Repeat("the same ", 100_000)
	hash := handlertest.HashOf(t, content.SHA1, body)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			a := s.upload(t, newForm().file("a", "a.txt", "text/plain", body), 0)
			if a.Status != 200 || !strings.Contains(string(a.Body), hash.String()) {
				t.Errorf("%d %s", a.Status, a.Body)
			}
		})
	}
	wg.Wait()
	require.Len(t, s.files(t, "content"), 2)
	s.requireNoTemp(t)
}

// FuzzForm sends bodies that begin as forms do: the answer is always JSON, and
// no temporary file stays.
func FuzzForm(f *testing.F) {
	s := newSite(f, func(_ *prism.Deps, set *prism.Settings) { set.MaxSize = 1 << 16 })
	f.Add([]byte("--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x.mp4\"\r\n\r\nfilm\r\n--b--\r\n"))
	f.Add([]byte("--b\r\nContent-Disposition: form-data; name=\"hashType\"\r\n\r\nmd5\r\n--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"\"\r\n\r\n\r\n--b--"))
	f.Add([]byte("--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\nZmls\r\n--b"))
	f.Add([]byte("--b--"))
	f.Add([]byte("--b\r\nContent-Disposition: form-data; name*=UTF-8''%ff; filename*=x''%00\r\n\r\n\r\n--b\r\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequest("POST", "/content/upload", bytes.NewReader(body))
		r.Header.Set("Content-Type", "multipart/form-data; boundary=b")
		r.Header.Set(tokenHeader, s.session)
		w := httptest.NewRecorder()
		if err := s.handler.Serve(w, r); err != nil {
			t.Fatal(err)
		}
		if w.Code != 200 && w.Code != 400 && w.Code != 413 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		object(t, handlertest.Answer{Status: w.Code, Body: w.Body.Bytes()})
		s.requireNoTemp(t)
	})
}
