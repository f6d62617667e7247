package integration

import (
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// API is a client of a node's prism with a session.
type API struct {
	t     testing.TB
	base  string
	HTTP  *http.Client
	Token string // the session's
}

// Purchase is what a prism answers to one.
type Purchase struct {
	Token string `json:"token"`
	Hash  string `json:"hash"`
	Ext   string `json:"ext"`
	URL   string `json:"url"`
}

// Client returns an HTTP client of its own, which follows no redirect and
// whose connections end with the test.
func Client(t testing.TB) *http.Client {
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// asks is one Client for all that is asked again and again.
func (n *Node) asks() *http.Client {
	n.asking.Do(func() { n.client = n.Client() })
	return n.client
}

// Login opens a session for the declared user at the plain site.
func (n *Node) Login() *API { return n.LoginAs(User, Password) }

// LoginAs opens a session at the plain site.
func (n *Node) LoginAs(user, password string) *API {
	n.t.Helper()
	a := &API{t: n.t, base: n.URL(""), HTTP: n.Client()}
	var answer struct {
		Session struct {
			Token string `json:"token"`
		} `json:"session"`
	}
	a.MustPost("/user/login", map[string]string{"username": user, "password": password}, &answer)
	require.NotEmpty(n.t, answer.Session.Token)
	a.Token = answer.Session.Token
	return a
}

// Do sends a request with the session and returns the answer with its body read.
func (a *API) Do(req *http.Request) (*http.Response, []byte) {
	a.t.Helper()
	if a.Token != "" {
		req.Header.Set("X-OOSE-Token", a.Token)
	}
	res, err := a.HTTP.Do(req)
	require.NoError(a.t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(a.t, err)
	return res, body
}

// Post posts JSON.
func (a *API) Post(path string, body any) (*http.Response, []byte) {
	a.t.Helper()
	text, err := json.Marshal(body)
	require.NoError(a.t, err)
	req, err := http.NewRequest(http.MethodPost, a.base+path, bytes.NewReader(text))
	require.NoError(a.t, err)
	req.Header.Set("Content-Type", "application/json")
	return a.Do(req)
}

// MustPost posts JSON, wants 200 and reads the answer into out (may be nil).
func (a *API) MustPost(path string, body, out any) {
	a.t.Helper()
	res, text := a.Post(path, body)
	require.Equal(a.t, http.StatusOK, res.StatusCode, "%s: %s", path, text)
	if out != nil {
		require.NoError(a.t, json.Unmarshal(text, out), "%s: %s", path, text)
	}
}

// Get fetches an address with headers ("Name: value").
func (a *API) Get(url string, headers ...string) (*http.Response, []byte) {
	a.t.Helper()
	return fetch(a.t, a.HTTP, http.MethodGet, url, headers...)
}

// fetch sends a request without a session and reads the whole answer.
func fetch(t testing.TB, client *http.Client, method, url string, headers ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	require.NoError(t, err)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
		if name == "Host" {
			req.Host = value
		}
	}
	res, err := client.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res, body
}

// Part is one file of an upload.
type Part struct {
	Field, Name string
	HashType    string // sent as a field before the file; "": none
	Body        io.Reader
}

// SendUpload posts files as multipart/form-data, streamed. It returns an error
// where the connection failed.
func (a *API) SendUpload(parts ...Part) (*http.Response, []byte, error) {
	return a.sendUpload("", parts...)
}

func (a *API) sendUpload(query string, parts ...Part) (*http.Response, []byte, error) {
	r, w := io.Pipe()
	form := multipart.NewWriter(w)
	go func() {
		w.CloseWithError(func() error {
			for _, p := range parts {
				if p.HashType != "" {
					if err := form.WriteField("hashType", p.HashType); err != nil {
						return err
					}
				}
				f, err := form.CreateFormFile(p.Field, p.Name)
				if err != nil {
					return err
				}
				if _, err := io.Copy(f, p.Body); err != nil {
					return err
				}
			}
			return form.Close()
		}())
	}()
	req, err := http.NewRequest(http.MethodPost, a.base+"/content/upload?"+query, r)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Content-Type", form.FormDataContentType())
	req.Header.Set("X-OOSE-Token", a.Token)
	res, err := a.HTTP.Do(req)
	if err != nil {
		r.CloseWithError(err)
		return nil, nil, err
	}
	defer res.Body.Close()
	defer r.Close()
	body, err := io.ReadAll(res.Body)
	return res, body, err
}

// Upload uploads one file and returns its hash.
func (a *API) Upload(name, hashType string, body io.Reader) string {
	a.t.Helper()
	res, text, err := a.SendUpload(Part{Field: "file", Name: name, HashType: hashType, Body: body})
	require.NoError(a.t, err)
	require.Equal(a.t, http.StatusOK, res.StatusCode, "%s", text)
	hash, err := uploaded(text)
	require.NoError(a.t, err)
	return hash
}

// uploaded reads the hash of the field "file" from an upload's answer.
func uploaded(text []byte) (string, error) {
	var answer struct {
		Error string
		Files map[string]struct{ Hash string }
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return "", fmt.Errorf("%w: %s", err, text)
	}
	if answer.Files["file"].Hash == "" {
		return "", fmt.Errorf("no hash in %s", text)
	}
	return answer.Files["file"].Hash, nil
}

// Purchase makes a purchase; more overrides or adds fields.
func (a *API) Purchase(hash, ext string, more map[string]any) Purchase {
	a.t.Helper()
	body := map[string]any{"hash": hash, "ext": ext}
	for k, v := range more {
		body[k] = v
	}
	var p Purchase
	a.MustPost("/content/purchase", body, &p)
	require.Len(a.t, p.Token, 20)
	require.NotEmpty(a.t, p.URL)
	return p
}

// noise returns n bytes that no compressor and no file system can shorten.
func noise(t testing.TB, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	_, err := rand.Read(b)
	require.NoError(t, err)
	return b
}

func sha1Of(b []byte) string {
	sum := sha1.Sum(b)
	return hex.EncodeToString(sum[:])
}

func sha256Of(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// eventually is require.Eventually with this package's patience.
func eventually(t testing.TB, condition func() bool, what string) {
	t.Helper()
	require.Eventually(t, condition, patience, 20*time.Millisecond, what)
}

// upload is Upload for what may fail. A query is sent along for the log.
func upload(a *API, data []byte, query ...string) (hash string, err error) {
	res, text, err := a.sendUpload(strings.Join(query, "&"), Part{Field: "file", Name: "f.bin", HashType: "sha256", Body: bytes.NewReader(data)})
	if err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("upload: %s: %s", res.Status, text)
	}
	return uploaded(text)
}

// purchase is Purchase for what may fail; it returns the token.
func purchase(a *API, hash string) (string, error) {
	req, err := http.NewRequest(http.MethodPost, a.base+"/content/purchase", strings.NewReader(`{"hash":"`+hash+`","ext":"bin"}`))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-OOSE-Token", a.Token)
	res, err := a.HTTP.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("purchase: %s: %s", res.Status, text)
	}
	var p Purchase
	err = json.Unmarshal(text, &p)
	return p.Token, err
}

// getJSON fetches an object that must be there.
func getJSON(t testing.TB, url string) (object map[string]any) {
	t.Helper()
	res, body := fetch(t, Client(t), http.MethodGet, url)
	require.Equal(t, http.StatusOK, res.StatusCode, "%s: %s", url, body)
	require.NoError(t, json.Unmarshal(body, &object), "%s: %s", url, body)
	return object
}

// jsonAt returns the string at a path of keys in a JSON text.
func jsonAt(t testing.TB, text []byte, path ...string) string {
	t.Helper()
	var v any
	require.NoError(t, json.Unmarshal(text, &v), "%s", text)
	for _, key := range path {
		m, ok := v.(map[string]any)
		require.True(t, ok, "%s in %s", key, text)
		v = m[key]
	}
	s, ok := v.(string)
	require.True(t, ok, "%v in %s", path, text)
	return s
}
