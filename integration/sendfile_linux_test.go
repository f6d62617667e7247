package integration

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSendfile watches the node's system calls: on plain HTTP/1 a file, whole
// or a range of it, goes from disk to socket inside the kernel.
func TestSendfile(t *testing.T) {
	parallel(t)
	path, data := movie(t)
	// A second site without an access log: its writer is not wrapped.
	quiet := "http://localhost:$TLS {\n bind 127.0.0.1\n oose_purchase\n}\n"
	n := Start(t, Config{Sites: quiet}, WithWrap("strace", "-D", "-f", "--seccomp-bpf", "-q", "-e", "trace=sendfile", "-e", "signal=none", "-o", "$DIR/strace.log"))
	n.MustRun("put", path)
	p := n.Login().Purchase(sha1Of(data), "mp4", nil)
	total := 0
	for _, base := range []string{n.URL(""), n.Expand("http://localhost:$TLS")} {
		for _, c := range []struct {
			header   string
			from, to int
		}{{"", 0, len(data)}, {"Range: bytes=5000001-15000000", 5_000_001, 15_000_001}} {
			var headers []string
			if c.header != "" {
				headers = append(headers, c.header)
			}
			_, body := fetch(t, Client(t), http.MethodGet, base+"/"+p.Token+"/movie.mp4", headers...)
			require.True(t, string(body) == string(data[c.from:c.to]), "the bytes %s", c.header)
			total += len(body)
		}
	}
	n.Stop()
	// The log is whole when strace has ended, which is a moment after the node.
	// A tail below 2 MiB of each range is copied; any of the four missing would
	// be more than that.
	eventually(t, func() bool { return sentByKernel(t, n) >= total-5<<20 },
		fmt.Sprintf("sendfile carries nearly all of %d bytes", total))
	t.Logf("sendfile carried %d of %d bytes", sentByKernel(t, n), total)
}

var sendfileResult = regexp.MustCompile(`(?m)(?:sendfile\(.*|sendfile resumed>.*)\) += (\d+)`)

// sentByKernel adds up what sendfile returned so far.
func sentByKernel(t *testing.T, n *Node) (bytes int) {
	t.Helper()
	text, err := os.ReadFile(n.Path("strace.log"))
	require.NoError(t, err)
	for _, m := range sendfileResult.FindAllSubmatch(text, -1) {
		c, err := strconv.Atoi(string(m[1]))
		require.NoError(t, err)
		bytes += c
	}
	return bytes
}
