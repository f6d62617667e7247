package delivery

import (
	"bufio"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkPurchase compares what a purchase's 4 KiB file costs with what
// http.FileServer needs for the same bytes, client included; both run in one
// process over loopback.
func BenchmarkPurchase(b *testing.B) {
	w := newWorld(b, "om101")
	data := strings.Repeat("0123456789abcdef", 256)
	token := w.buy(w.put(data, "bin", "om101"), "bin")
	dir := b.TempDir()
	require.NoError(b, os.WriteFile(filepath.Join(dir, "file.bin"), []byte(data), 0o600))
	b.Run("http.FileServer", func(b *testing.B) { request(b, http.FileServer(http.Dir(dir)), "/file.bin", len(data)) })
	b.Run("purchase", func(b *testing.B) {
		request(b, serverOf(New(w.deps, Settings{})), "/"+string(token)+"/file.bin", len(data))
	})
}

// request asks for a path over one connection, as cheaply as it can.
func request(b *testing.B, h http.Handler, path string, size int) {
	server := httptest.NewServer(h)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(b, err)
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 64<<10)
	ask := []byte("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n")
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Write(ask); err != nil {
			b.Fatal(err)
		}
		for {
			line, err := in.ReadSlice('\n')
			if err != nil {
				b.Fatal(err)
			}
			if len(line) == 2 {
				break
			}
		}
		if _, err := in.Discard(size); err != nil {
			b.Fatal(err)
		}
	}
}
