package integration

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/require"
)

// protocol is one way to speak HTTP to a node.
type protocol struct {
	name  string
	proto string // what Response.Proto says
	base  string // scheme, host and port
	http  *http.Client
}

// protocols returns clients for HTTP/1.1 in plain and over TLS, for HTTP/2 and
// for HTTP/3. The node needs httpsSite. Certificates are checked against the
// node's own CA.
func protocols(t testing.TB, n *Node) []protocol {
	t.Helper()
	root := n.Path("xdg", "caddy", "pki", "authorities", "local", "root.crt")
	n.Eventually(func() bool { _, err := os.Stat(root); return err == nil }, "the internal CA is there")
	roots := trust(t, root)
	n.Eventually(func() bool {
		conn, err := tls.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", n.TLS), &tls.Config{RootCAs: roots, ServerName: "localhost"})
		if err == nil {
			conn.Close()
		}
		return err == nil
	}, "the certificate is there")
	secure := fmt.Sprintf("https://localhost:%d", n.TLS)
	client := func(p ...string) *http.Client {
		transport := &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, NextProtos: p},
			DialContext:     dialLoopback, DisableCompression: true, ForceAttemptHTTP2: p[0] == "h2",
		}
		if p[0] != "h2" { // or net/http adds it
			transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
		}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}
	}
	quicTransport := &http3.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots},
		// A paused player's connection lives by its keep-alives.
		QUICConfig: &quic.Config{KeepAlivePeriod: 5 * time.Second},
		Dial: func(ctx context.Context, _ string, tc *tls.Config, qc *quic.Config) (*quic.Conn, error) {
			return quic.DialAddr(ctx, fmt.Sprintf("127.0.0.1:%d", n.TLS), tc, qc)
		},
		DisableCompression: true,
	}
	t.Cleanup(func() { quicTransport.Close() })
	return []protocol{
		{"http1", "HTTP/1.1", n.URL(""), client("http/1.1")},
		{"http1 over TLS", "HTTP/1.1", secure, client("http/1.1")},
		{"http2", "HTTP/2.0", secure, client("h2")},
		{"http3", "HTTP/3.0", secure, &http.Client{Transport: quicTransport}},
	}
}

// trust reads a PEM file of certificates.
func trust(t testing.TB, file string) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(text))
	return roots
}

// dialLoopback connects to 127.0.0.1 for every name, and to addresses as they are.
func dialLoopback(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if net.ParseIP(host) == nil {
		host = "127.0.0.1"
	}
	var d net.Dialer
	return d.DialContext(ctx, network, net.JoinHostPort(host, port))
}
