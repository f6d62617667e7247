package integration

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestBadInput sends what nobody should send: each gets its status and a
// clear error, and the node goes on.
func TestBadInput(t *testing.T) {
	parallel(t)
	n := Start(t, Config{Oose: "content {\n max_size 1MB\n }"})
	a := n.Login()
	data := []byte("some text")
	hash := a.Upload("f.txt", "", bytes.NewReader(data))
	p := a.Purchase(hash, "txt", nil)
	changed := []byte(p.Token)
	changed[15] = map[bool]byte{true: 'b', false: 'a'}[changed[15] == 'a']

	for _, c := range []struct {
		name, path string
		body       string
		want       int
	}{
		{"malformed JSON", "/content/purchase", `{"hash":`, 400},
		{"no JSON", "/content/detail", `hash=1`, 400},
		{"a wrong type", "/content/purchase", `{"hash": 7}`, 400},
		{"a missing field", "/content/purchase", `{}`, 422},
		{"a short hash", "/content/purchase", `{"hash": "abc"}`, 422},
		{"a hash of another alphabet", "/content/purchase", `{"hash": "` + strings.Repeat("g", 40) + `"}`, 422},
		{"nobody's hash", "/content/purchase", `{"hash": "` + strings.Repeat("0", 40) + `"}`, 404},
		{"a bad life", "/content/purchase", `{"hash": "` + hash + `", "life": -1}`, 400},
		{"a bad referrer pattern", "/content/purchase", `{"hash": "` + hash + `", "referrer": ["("]}`, 400},
		{"a bad address", "/content/purchase", `{"hash": "` + hash + `", "ip": "300.1.1.1"}`, 400},
		{"a path for an ext", "/content/purchase", `{"hash": "` + hash + `", "ext": "../../etc"}`, 400},
		{"an unknown token", "/content/purchase/remove", `{"token": "a20200101aaaaaaaaaaa"}`, 404},
		{"no token", "/content/purchase/remove", `{}`, 400},
		{"a body above 1 MiB", "/content/purchase", `{"hash": "` + strings.Repeat("a", 2<<20) + `"}`, 413},
		{"retrieve from a private address", "/content/retrieve", `{"request": {"url": "http://127.0.0.1:` + fmt.Sprint(n.Admin) + `/config/"}, "extension": "json"}`, 403},
		{"retrieve from a file", "/content/retrieve", `{"request": {"url": "file:///etc/passwd"}, "extension": "txt"}`, 400},
	} {
		req, err := http.NewRequest(http.MethodPost, n.URL(c.path), strings.NewReader(c.body))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		res, text := a.Do(req)
		require.Equal(t, c.want, res.StatusCode, "%s: %s", c.name, text)
		require.Contains(t, string(text), `"error"`, c.name)
		require.NotContains(t, string(text), n.Dir, c.name)
	}
	for _, c := range []struct {
		name, path string
		want       []int
	}{
		{"a changed token", "/" + string(changed) + "/f.txt", []int{404}},
		{"dots", "/static/" + hash + "/../../../etc/passwd", []int{404}},
		{"encoded slashes", "/static/" + hash + "/..%2f..%2f..%2fetc%2fpasswd", []int{200, 400, 404}},
		{"an encoded slash in the hash", "/static/" + hash[:20] + "%2f" + hash[20:] + "/f.txt", []int{400, 404, 422}},
		{"a NUL", "/static/" + hash + "/f%00.txt", []int{200, 400, 404}},
		{"a NUL in the hash", "/static/" + hash[:39] + "%00/f.txt", []int{400, 404, 422}},
		{"a very long name", "/" + p.Token + "/" + strings.Repeat("n", 20_000) + ".txt", []int{200, 400, 404, 414, 431}},
		{"an unknown path", "/no/such/route", []int{404}},
		{"a range beyond the end", "/" + p.Token + "/f.txt", []int{200}},
	} {
		res, text := a.Get(n.URL(c.path))
		require.Contains(t, c.want, res.StatusCode, "%s: %s", c.name, text)
		if res.StatusCode == http.StatusOK {
			require.Equal(t, data, text, c.name)
		}
	}
	t.Run("max_size", func(t *testing.T) {
		res, text, err := a.SendUpload(Part{Field: "file", Name: "big.bin", Body: io.LimitReader(endless{noise(t, 1<<16)}, 3<<20)})
		if err == nil { // the connection may be closed before all was sent
			require.Equal(t, http.StatusRequestEntityTooLarge, res.StatusCode, "%s", text)
		}
		requireNoTemporaries(t, n)
	})
	t.Run("a multipart body without its end", func(t *testing.T) {
		body := "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f.txt\"\r\n\r\nhalf a file"
		req, err := http.NewRequest(http.MethodPost, n.URL("/content/upload"), strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "multipart/form-data; boundary=x")
		res, text := a.Do(req)
		require.Equal(t, http.StatusBadRequest, res.StatusCode, "%s", text)
		requireNoTemporaries(t, n)
	})
	require.NoError(t, getExactly(a.HTTP, n.URL("/"+p.Token+"/f.txt"), data), "and it still serves")
}

func TestPurchasesOfEveryKind(t *testing.T) {
	parallel(t)
	n := Start(t, Config{})
	a := n.Login()
	data := noise(t, 10_000)
	hash := a.Upload("f.zip", "", bytes.NewReader(data))
	status := func(p Purchase, headers ...string) int {
		t.Helper()
		res, _ := a.Get(n.URL("/"+p.Token+"/f.zip"), headers...)
		return res.StatusCode
	}
	t.Run("without ext", func(t *testing.T) {
		var p Purchase
		a.MustPost("/content/purchase", map[string]string{"hash": hash}, &p)
		require.Equal(t, "zip", p.Ext)
		require.Equal(t, 200, status(p))
	})
	t.Run("address", func(t *testing.T) {
		require.Equal(t, 200, status(a.Purchase(hash, "zip", map[string]any{"ip": "127.0.0.0/8"})))
		require.Equal(t, 403, status(a.Purchase(hash, "zip", map[string]any{"ip": "192.0.2.7"})))
	})
	t.Run("referrer", func(t *testing.T) {
		p := a.Purchase(hash, "zip", map[string]any{"referrer": []string{`^https://a{1,3}\.example/`}})
		require.Equal(t, 403, status(p))
		require.Equal(t, 403, status(p, "Referer: https://b.example/"))
		require.Equal(t, 200, status(p, "Referer: https://aa.example/watch"))
	})
	t.Run("count", func(t *testing.T) {
		p := a.Purchase(hash, "zip", map[string]any{"count": 2})
		require.Equal(t, 200, status(p, "User-Agent: one"))
		require.Equal(t, 206, status(p, "User-Agent: one", "Range: bytes=5-"), "the same client goes on")
		require.Equal(t, 200, status(p, "User-Agent: two"))
		eventually(t, func() bool { return status(p, "User-Agent: three") == 410 }, "the uses are spent")
		require.Equal(t, 206, status(p, "User-Agent: two", "Range: bytes=5-"), "who began may finish")
	})
	t.Run("found and changed", func(t *testing.T) {
		p := a.Purchase(hash, "zip", nil)
		var found Purchase
		a.MustPost("/content/purchase/find", map[string]string{"token": p.Token}, &found)
		require.Equal(t, hash, found.Hash)
		a.MustPost("/content/purchase/update", map[string]any{"token": p.Token, "ip": "192.0.2.0/24"}, nil)
		require.Equal(t, 403, status(p))
		a.MustPost("/content/purchase/update", map[string]any{"token": p.Token, "ip": "", "life": 1}, nil)
		eventually(t, func() bool { return status(p) == 410 }, "it expires")
	})
	t.Run("rate", func(t *testing.T) {
		p := a.Purchase(hash, "zip", nil)
		begun := time.Now()
		require.NoError(t, getExactly(a.HTTP, n.URL("/"+p.Token+"/f.zip?rate=5k"), data))
		require.Greater(t, time.Since(begun), time.Second, "10,000 bytes at 5 KiB a second")
	})
	t.Run("start is accepted", func(t *testing.T) {
		require.NoError(t, getExactly(a.HTTP, n.URL("/"+a.Purchase(hash, "zip", nil).Token+"/f.zip?start=3"), data))
	})
}

func TestTwoUploadsOfTheSameAtOnce(t *testing.T) {
	parallel(t)
	n := Start(t, Config{})
	a := n.Login()
	data := noise(t, 3<<20)
	want := sha256Of(data)
	var wg sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		wg.Go(func() {
			hash, err := upload(a, data)
			if err == nil && hash != want {
				err = fmt.Errorf("answered %s", hash)
			}
			errs[i] = err
		})
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	for _, disk := range []string{"disk1", "disk2"} {
		require.Len(t, filesIn(t, n.Path(disk, "content")), 1, "one clone in %s", disk)
	}
	requireNoTemporaries(t, n)
	token, err := purchase(a, want)
	require.NoError(t, err)
	require.NoError(t, getExactly(a.HTTP, n.URL("/"+token+"/f.bin"), data))
}

func TestManyFilesAndDigestsInOneUpload(t *testing.T) {
	parallel(t)
	n := Start(t, Config{})
	a := n.Login()
	var parts []Part
	lengths := map[string]int{"md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128}
	for kind := range lengths {
		parts = append(parts, Part{Field: kind, Name: kind + ".txt", HashType: kind, Body: strings.NewReader("the same text")})
	}
	res, text, err := a.SendUpload(parts...)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, res.StatusCode, "%s", text)
	for kind, length := range lengths {
		hash := jsonAt(t, text, "files", kind, "hash")
		require.Len(t, hash, length, kind)
		require.Equal(t, hash, jsonAt(t, text, "files", kind, kind))
		require.NoError(t, getExactly(a.HTTP, n.URL("/static/"+hash+"/f.txt"), []byte("the same text")))
	}
}

func TestClientLeavesInTheMiddleOfAnUpload(t *testing.T) {
	parallel(t)
	n := Start(t, Config{})
	a := n.Login()
	before := a.Upload("keep.bin", "", strings.NewReader("keep"))
	ctx, leave := context.WithCancel(t.Context())
	feed, body := io.Pipe()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.URL("/content/upload"), feed)
	require.NoError(t, err)
	req.Header.Set("Content-Type", "multipart/form-data; boundary=x")
	req.Header.Set("X-OOSE-Token", a.Token)
	done := make(chan struct{})
	go func() {
		defer close(done)
		res, err := a.HTTP.Do(req)
		if err == nil {
			res.Body.Close()
		}
		feed.CloseWithError(context.Canceled)
	}()
	_, err = io.WriteString(body, "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f.txt\"\r\n\r\n")
	require.NoError(t, err)
	_, err = body.Write(noise(t, 1<<20))
	require.NoError(t, err)
	eventually(t, func() bool { return len(unfinished(t, n.Path("disk1"))) > 0 }, "the upload is being written")
	leave()
	// Go's client may wait for a body's Read to end before it gives up.
	body.CloseWithError(context.Canceled)
	<-done
	requireNoTemporaries(t, n)
	require.Len(t, filesIn(t, n.Path("disk1", "content")), 1, "nothing but what was there")
	require.NoError(t, getExactly(a.HTTP, n.URL("/static/"+before+"/f.bin"), []byte("keep")))
}

// TestSlowClients sends a header and reads an answer byte by byte, while
// others are served.
func TestSlowClients(t *testing.T) {
	parallel(t)
	n := Start(t, Config{})
	a := n.Login()
	data := noise(t, 3000)
	p := a.Purchase(a.Upload("f.bin", "", bytes.NewReader(data)), "bin", nil)
	conn, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", n.Port))
	require.NoError(t, err)
	defer conn.Close()
	request := "GET /" + p.Token + "/f.bin HTTP/1.1\r\nHost: 127.0.0.1:" + fmt.Sprint(n.Port) + "\r\nConnection: close\r\n\r\n"
	for i := range request {
		_, err := conn.Write([]byte{request[i]})
		require.NoError(t, err)
		if i%40 == 0 {
			require.NoError(t, getExactly(a.HTTP, n.URL("/"+p.Token+"/f.bin"), data), "others are served meanwhile")
		}
	}
	var answer []byte
	one := make([]byte, 1)
	for {
		_, err := conn.Read(one)
		if err != nil {
			require.ErrorIs(t, err, io.EOF)
			break
		}
		answer = append(answer, one[0])
	}
	require.True(t, bytes.HasPrefix(answer, []byte("HTTP/1.1 200 OK\r\n")))
	require.True(t, bytes.HasSuffix(answer, data))
}

// TestForeignHost: a link never repeats the Host that a client sent.
func TestForeignHost(t *testing.T) {
	parallel(t)
	n := Start(t, Config{Sites: "http://:$TLS {\n bind 127.0.0.1\n oose_purchase {\n delivery redirect\n }\n oose_prism any\n }\n"})
	a := n.Login()
	hash := a.Upload("f.txt", "", strings.NewReader("x"))
	req, err := http.NewRequest(http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d/content/purchase", n.TLS), strings.NewReader(`{"hash":"`+hash+`"}`))
	require.NoError(t, err)
	req.Host = "evil.example"
	res, text := a.Do(req)
	require.Equal(t, http.StatusOK, res.StatusCode, "%s", text)
	require.NotContains(t, string(text), "evil.example")
	token := jsonAt(t, text, "token")
	res, text = a.Get(fmt.Sprintf("http://127.0.0.1:%d/%s/f.txt", n.TLS, token), "Host: evil.example")
	require.NotContains(t, res.Header.Get("Location"), "evil.example")
	require.Equal(t, http.StatusOK, res.StatusCode, "a store without an address is streamed for: %s", text)
	res, _ = fetch(t, a.HTTP, http.MethodGet, n.URL("/ping"), "Host: evil.example")
	require.NotEqual(t, http.StatusInternalServerError, res.StatusCode)
}

// TestRedirectsEnd puts prisms behind one another, each of which redirects.
func TestRedirectsEnd(t *testing.T) {
	parallel(t)
	n := Start(t, Config{
		Purchase: "delivery redirect",
		Sites: `http://localhost:$TLS {
	bind 127.0.0.1
	oose_purchase {
		delivery redirect
	}
	oose_prism second
	oose_store disk1 $DIR/disk1 {
		address http://localhost:$TLS
	}
	oose_store disk2 $DIR/disk2 {
		address http://localhost:$TLS
	}
}
`, Stores: " "})
	a := n.Login()
	data := noise(t, 50_000)
	hash := a.Upload("f.zip", "", bytes.NewReader(data))
	p := a.Purchase(hash, "zip", nil)
	for _, start := range []string{n.URL("/" + p.Token + "/f.zip?a=b"), n.URL("/static/" + hash + "/f.zip")} {
		at := start
		for hop := 0; ; hop++ {
			require.Less(t, hop, 4, "redirects never end: %s", at)
			res, body := fetch(t, a.HTTP, http.MethodGet, at)
			if res.StatusCode == http.StatusOK {
				require.True(t, bytes.Equal(data, body))
				require.Positive(t, hop, "the prism redirects")
				break
			}
			require.Equal(t, http.StatusFound, res.StatusCode, "%s: %s", at, body)
			next, err := url.Parse(res.Header.Get("Location"))
			require.NoError(t, err)
			require.NotEmpty(t, next.Host)
			at = next.String()
		}
	}
}

func TestRetrieveIsGuarded(t *testing.T) {
	parallel(t)
	secret := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/loop" {
			http.Redirect(w, r, "/loop", http.StatusFound)
			return
		}
		_, _ = io.Copy(w, io.LimitReader(endless{make([]byte, 1<<16)}, 64<<20))
	}))
	t.Cleanup(secret.Close)
	guarded := Start(t, Config{})
	a := guarded.Login()
	for _, target := range []string{secret.URL, strings.Replace(secret.URL, "127.0.0.1", "localhost", 1),
		strings.Replace(secret.URL, "127.0.0.1", "[::ffff:127.0.0.1]", 1), strings.Replace(secret.URL, "127.0.0.1", "0.0.0.0", 1)} {
		res, text := a.Post("/content/retrieve", map[string]any{"request": map[string]any{"url": target}, "extension": "bin"})
		require.Equal(t, http.StatusForbidden, res.StatusCode, "%s: %s", target, text)
	}
	open := Start(t, Config{Oose: "content {\n retrieve_private\n max_size 1MB\n }"})
	a = open.Login()
	res, text := a.Post("/content/retrieve", map[string]any{"request": map[string]any{"url": secret.URL}, "extension": "bin"})
	require.Equal(t, http.StatusRequestEntityTooLarge, res.StatusCode, "an endless answer: %s", text)
	res, text = a.Post("/content/retrieve", map[string]any{"request": map[string]any{"url": secret.URL + "/loop"}, "extension": "bin"})
	require.GreaterOrEqual(t, res.StatusCode, 400, "%s", text)
	requireNoTemporaries(t, open)
}

func TestContentIsRemoved(t *testing.T) {
	parallel(t)
	n := Start(t, Config{})
	a := n.Login()
	data := noise(t, 10_000)
	hash := a.Upload("f.zip", "", bytes.NewReader(data))
	p := a.Purchase(hash, "zip", nil)
	a.MustPost("/content/remove", map[string]string{"hash": hash}, nil)
	for _, disk := range []string{"disk1", "disk2"} {
		eventually(t, func() bool { return len(filesIn(t, n.Path(disk, "content"))) == 0 }, "the clone is dropped from "+disk)
	}
	res, _ := a.Get(n.URL("/" + p.Token + "/f.zip"))
	require.Equal(t, http.StatusNotFound, res.StatusCode)
	res, _ = a.Post("/content/purchase", map[string]string{"hash": hash})
	require.Equal(t, http.StatusNotFound, res.StatusCode)
	n.Kill()
	n.Restart()
	res, _ = a.Get(n.URL("/static/" + hash + "/f.zip"))
	require.Equal(t, http.StatusNotFound, res.StatusCode, "also after a crash")
	require.Equal(t, hash, a.Upload("f.zip", "", bytes.NewReader(data)), "it may come back")
	require.NoError(t, getExactly(a.HTTP, n.URL("/static/"+hash+"/f.zip"), data))
	require.NoError(t, getExactly(a.HTTP, n.URL("/"+a.Purchase(hash, "zip", nil).Token+"/f.zip"), data))
}
