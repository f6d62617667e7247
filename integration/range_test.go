package integration

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// rangesPerProtocol is how many random ranges each protocol is asked for.
const rangesPerProtocol = 200

func TestRandomRangesOfARealMovie(t *testing.T) {
	parallel(t)
	path, data := movie(t)
	n := Start(t, Config{Sites: httpsSite})
	answer := n.MustRun("put", path, "--json")
	hash := sha1Of(data)
	require.Contains(t, answer, hash)
	p := n.Login().Purchase(hash, "mp4", nil)
	for _, proto := range protocols(t, n) {
		t.Run(proto.name, func(t *testing.T) {
			url := proto.base + "/" + p.Token + "/movie.mp4"
			res, body := fetch(t, proto.http, http.MethodGet, url)
			require.Equal(t, proto.proto, res.Proto)
			require.Equal(t, http.StatusOK, res.StatusCode)
			require.True(t, bytes.Equal(data, body), "the whole file")
			seed := rand.Uint64()
			r := rand.New(rand.NewPCG(seed, 0))
			for range rangesPerProtocol {
				header, from, to := randomRange(r, len(data))
				res, body := fetch(t, proto.http, http.MethodGet, url, "Range: "+header)
				require.Equal(t, http.StatusPartialContent, res.StatusCode, "%s (seed %d)", header, seed)
				require.Equal(t, fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(data)), res.Header.Get("Content-Range"), header)
				require.Equal(t, strconv.Itoa(to-from), res.Header.Get("Content-Length"), header)
				require.True(t, bytes.Equal(data[from:to], body), "bytes of %s (seed %d)", header, seed)
			}
			for range 10 {
				checkMultipleRanges(t, proto.http, url, data, r)
			}
		})
	}
}

// randomRange returns a Range header, and the half-open range it stands for:
// bounded, open-ended or a suffix; of few bytes more often than of many.
func randomRange(r *rand.Rand, size int) (header string, from, to int) {
	length := 1 + r.IntN(1<<r.IntN(20))
	length = min(length, size)
	switch r.IntN(6) {
	case 0:
		return fmt.Sprintf("bytes=-%d", length), size - length, size
	case 1:
		return fmt.Sprintf("bytes=%d-", size-length), size - length, size
	case 2: // beyond the end: cut there
		return fmt.Sprintf("bytes=%d-%d", size-length, size+r.IntN(1000)), size - length, size
	}
	from = r.IntN(size - length + 1)
	return fmt.Sprintf("bytes=%d-%d", from, from+length-1), from, from + length
}

func checkMultipleRanges(t *testing.T, client *http.Client, url string, data []byte, r *rand.Rand) {
	t.Helper()
	var specs []string
	var want [][]byte
	for part := range 2 + r.IntN(4) { // in order and apart, or they may be joined
		from := part*len(data)/8 + r.IntN(len(data)/16)
		to := from + 1 + r.IntN(1000)
		specs = append(specs, fmt.Sprintf("%d-%d", from, to-1))
		want = append(want, data[from:to])
	}
	res, body := fetch(t, client, http.MethodGet, url, "Range: bytes="+strings.Join(specs, ", "))
	require.Equal(t, http.StatusPartialContent, res.StatusCode)
	kind, params, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	require.NoError(t, err)
	require.Equal(t, "multipart/byteranges", kind)
	parts := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for i := range want {
		part, err := parts.NextPart()
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("bytes %s/%d", specs[i], len(data)), part.Header.Get("Content-Range"))
		require.Equal(t, "video/mp4", part.Header.Get("Content-Type"))
		got, err := io.ReadAll(part)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want[i], got), "bytes of %s", specs[i])
	}
	_, err = parts.NextPart()
	require.ErrorIs(t, err, io.EOF)
}

func TestConditionsAndHeaders(t *testing.T) {
	parallel(t)
	const cors = "cors https://player.example"
	n := Start(t, Config{Sites: strings.Replace(httpsSite, "oose_purchase", "oose_purchase {\n"+cors+"\n}", 1), Purchase: cors})
	a := n.Login()
	data := noise(t, 100_000)
	hash := a.Upload("clip.mp4", "", bytes.NewReader(data))
	p := a.Purchase(hash, "mp4", map[string]any{"life": 3_600_000})
	etag := `"` + hash + `"`
	for _, proto := range protocols(t, n) {
		url := proto.base + "/" + p.Token + "/my%20film.mp4"
		get := func(headers ...string) (*http.Response, []byte) {
			t.Helper()
			return fetch(t, proto.http, http.MethodGet, url, headers...)
		}
		res, body := get()
		require.Equal(t, http.StatusOK, res.StatusCode)
		require.True(t, bytes.Equal(data, body))
		for name, value := range map[string]string{
			"Etag": etag, "Accept-Ranges": "bytes", "Content-Length": "100000", "Content-Type": "video/mp4",
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
		} {
			require.Equal(t, value, res.Header.Get(name), "%s over %s", name, proto.name)
		}
		control := res.Header.Get("Cache-Control")
		require.Contains(t, control, "private")
		require.Contains(t, control, "no-transform")
		var age int
		_, err := fmt.Sscanf(control[strings.Index(control, "max-age="):], "max-age=%d", &age)
		require.NoError(t, err, control)
		require.InDelta(t, 3600, age, 120, "what is left of the life")

		res, body = fetch(t, proto.http, http.MethodHead, url)
		require.Equal(t, http.StatusOK, res.StatusCode)
		require.Equal(t, "100000", res.Header.Get("Content-Length"))
		require.Empty(t, body)

		res, _ = get("If-None-Match: " + etag)
		require.Equal(t, http.StatusNotModified, res.StatusCode)
		res, _ = get("If-None-Match: \"other\", W/" + etag)
		require.Equal(t, http.StatusNotModified, res.StatusCode)
		res, body = get("Range: bytes=0-1", "If-Range: "+etag)
		require.Equal(t, http.StatusPartialContent, res.StatusCode)
		require.Equal(t, data[:2], body)
		res, body = get("Range: bytes=0-1", `If-Range: "other"`)
		require.Equal(t, http.StatusOK, res.StatusCode)
		require.Len(t, body, len(data))
		res, _ = get("Range: bytes=100000-")
		require.Equal(t, http.StatusRequestedRangeNotSatisfiable, res.StatusCode)
		require.Equal(t, "bytes */100000", res.Header.Get("Content-Range"))

		many := make([]string, 1000)
		for i := range many {
			many[i] = strconv.Itoa(i*3) + "-" + strconv.Itoa(i*3)
		}
		res, body = get("Range: bytes=" + strings.Join(many, ","))
		require.Contains(t, []int{http.StatusOK, http.StatusRequestedRangeNotSatisfiable}, res.StatusCode, "1,000 ranges")
		require.LessOrEqual(t, len(body), len(data), "1,000 ranges cost no more than the file")

		res, _ = fetch(t, proto.http, http.MethodGet, url+"?attach=a%22b%0d%0a%C3%A9.mp4")
		disposition := res.Header.Get("Content-Disposition")
		kind, params, err := mime.ParseMediaType(disposition)
		require.NoError(t, err, disposition)
		require.Equal(t, "attachment", kind)
		require.NotContains(t, params["filename"], "\n")
		require.Contains(t, params["filename"], "é.mp4", disposition)

		res, _ = fetch(t, proto.http, http.MethodOptions, url, "Origin: https://player.example",
			"Access-Control-Request-Method: GET", "Access-Control-Request-Headers: range")
		require.Equal(t, http.StatusNoContent, res.StatusCode)
		require.Equal(t, "https://player.example", res.Header.Get("Access-Control-Allow-Origin"))
		res, _ = get("Origin: https://player.example")
		require.Equal(t, "https://player.example", res.Header.Get("Access-Control-Allow-Origin"))
		require.Contains(t, res.Header.Get("Access-Control-Expose-Headers"), "Content-Range")
		res, _ = get("Origin: https://elsewhere.example")
		require.Empty(t, res.Header.Get("Access-Control-Allow-Origin"))
	}
}
