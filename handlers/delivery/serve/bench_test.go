package serve

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkSmallFile compares what a 4 KiB file costs here and with
// http.FileServer, client included; both run in one process over loopback.
func BenchmarkSmallFile(b *testing.B) { benchmark(b, 4096) }

// BenchmarkLargeFile does it for 8 MiB.
func BenchmarkLargeFile(b *testing.B) { benchmark(b, 8<<20) }

func benchmark(b *testing.B, size int) {
	s := newSample(b, size, "bin")
	b.Run("http.FileServer", func(b *testing.B) {
		request(b, http.FileServer(http.Dir(filepath.Dir(s.path))), size)
	})
	b.Run("serve", func(b *testing.B) { request(b, s, size) })
}

// request asks for /content over one connection, as cheaply as it can.
func request(b *testing.B, h http.Handler, size int) {
	server := httptest.NewServer(h)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(b, err)
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 64<<10)
	ask := []byte("GET /content HTTP/1.1\r\nHost: x\r\n\r\n")
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Write(ask); err != nil {
			b.Fatal(err)
		}
		if got := readHeader(b, in); got != size {
			b.Fatalf("%d bytes announced", got)
		}
		if _, err := in.Discard(size); err != nil {
			b.Fatal(err)
		}
	}
}

// readHeader reads a response's header and returns its Content-Length.
func readHeader(b *testing.B, in *bufio.Reader) int {
	const key = "Content-Length: "
	length := -1
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			b.Fatal(err)
		}
		if len(line) == 2 {
			return length
		}
		if len(line) > len(key) && string(line[:len(key)]) == key {
			length, _ = strconv.Atoi(string(line[len(key) : len(line)-2]))
		}
	}
}
