package handlertest

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Exchange is one recorded request to OOSE 2.x and its answer.
type Exchange struct {
	Name    string `json:"name"`
	Note    string `json:"note"`
	Request struct {
		Method  string            `json:"method"`
		Path    string            `json:"path"`
		Headers map[string]string `json:"headers"`
		Body    any               `json:"body"`
	} `json:"request"`
	Response struct {
		Status  int               `json:"status"`
		Headers map[string]string `json:"headers"`
		Body    any               `json:"body"`
	} `json:"response"`
	Varies []string `json:"varies"` // what differs from call to call
}

// Deviation is what ours answers where it differs from a record on purpose.
type Deviation struct {
	Status int
	Body   string // a part of the body; "": anything
	Why    string
}

// Golden reads the recorded exchanges of a role.
func Golden(t testing.TB, role string) []Exchange {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "testdata", "golden", role+".jsonl"))
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // it was only read
	var all []Exchange
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var x Exchange
		d := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		d.UseNumber()
		require.NoError(t, d.Decode(&x))
		all = append(all, x)
	}
	require.NoError(t, lines.Err())
	return all
}

// Replacements are pairs of a placeholder, or of something recorded that can't
// be had again, and what stands for it here.
type Replacements []string

// Build makes the request of an exchange.
func (x *Exchange) Build(t testing.TB, base string, known Replacements) *http.Request {
	t.Helper()
	swap := strings.NewReplacer(known...)
	body, contentType := x.requestBody(t, swap)
	r, err := http.NewRequest(x.Request.Method, base, body)
	require.NoError(t, err)
	r.URL.Opaque = swap.Replace(x.Request.Path) // as recorded, also what is no valid path
	for name, value := range x.Request.Headers {
		r.Header.Set(name, swap.Replace(value))
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	if x.Request.Body == hugeBody {
		r.ContentLength = hugeLen
	}
	return r
}

func (x *Exchange) requestBody(t testing.TB, swap *strings.Replacer) (io.Reader, string) {
	t.Helper()
	switch body := x.Request.Body.(type) {
	case nil:
		return http.NoBody, ""
	case string:
		if encoded, ok := strings.CutPrefix(body, "base64:"); ok {
			raw, err := base64.StdEncoding.DecodeString(encoded)
			require.NoError(t, err)
			return bytes.NewReader(raw), ""
		}
		if body == hugeBody {
			return io.MultiReader(strings.NewReader(`{"a":"`), io.LimitReader(letters{}, hugeLen-8), strings.NewReader(`"}`)), ""
		}
		return strings.NewReader(swap.Replace(body)), ""
	case map[string]any:
		return x.form(t, body["multipart"].([]any))
	}
	t.Fatalf("%s: a body of an unknown form", x.Name)
	return nil, ""
}

// hugeBody is how the records name a body that is too large to be kept.
const (
	hugeBody = "<JSON of 101 MiB>"
	hugeLen  = 101 << 20
)

type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

// uploads are the bytes of the recorded uploads, by file name. Those of a.jpg
// and b.mp4 are not known: others stand for them.
var uploads = map[string]string{
	"test.txt": Fox, "weird.xyz": "weird", "m.mp3": "mp3data", "j.jpg": "jpgjpg", "j.png": "pngpng",
	"a.jpg": UnknownJPEG, "b.mp4": UnknownMP4,
}

// Contents of the records.
const (
	Fox         = "The fox is brown"
	UnknownJPEG = "0123456789"
	UnknownMP4  = "not the recorded mp4"
)

// form rebuilds a multipart body. The records keep the fields, and of the files
// what the answer says.
func (x *Exchange) form(t testing.TB, parts []any) (io.Reader, string) {
	t.Helper()
	type file struct{ key, name, mimetype string }
	files := []file{{"file", "test.txt", "text/plain"}}
	if answer, ok := x.Response.Body.(map[string]any); ok {
		if told, ok := answer["files"].(map[string]any); ok && len(told) > 0 {
			files = nil
			for key, f := range told {
				f := f.(map[string]any)
				files = append(files, file{key, f["name"].(string), f["mimetype"].(string)})
			}
			sort.Slice(files, func(i, j int) bool { return files[i].key < files[j].key })
		}
	}
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, part := range parts {
		text := part.([]any)[1].(string)
		if key, value, ok := strings.Cut(text, "="); ok {
			require.NoError(t, w.WriteField(key, value))
			continue
		}
		f := files[0]
		files = files[1:]
		p, err := w.CreatePart(textproto.MIMEHeader{
			"Content-Disposition": {fmt.Sprintf(`form-data; name=%q; filename=%q`, f.key, f.name)},
			"Content-Type":        {f.mimetype},
		})
		require.NoError(t, err)
		_, err = io.WriteString(p, uploads[f.name])
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return &b, w.FormDataContentType()
}
