package adminapi

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// systemTells is whether this system tells who is at the other end.
const systemTells = runtime.GOOS == "linux"

// listen starts a server on a network and returns a client for it.
func listen(t *testing.T, network string, f http.HandlerFunc) (client *http.Client, url, from string) {
	t.Helper()
	at, from := "127.0.0.1:0", "127.0.0.1"
	if network == "unix" {
		at, from = filepath.Join(t.TempDir(), "s"), "unix"
	}
	l, err := net.Listen(network, at)
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(f)
	require.NoError(t, server.Listener.Close())
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, l.Addr().String())
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}, "http://127.0.0.1/", from
}
