package caddymodule

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/stretchr/testify/require"
)

// TestReloadAwaitsFirstRequests reloads while a connection has been accepted that
// has not brought its request: the old server would close it unanswered.
func TestReloadAwaitsFirstRequests(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.load(oneStore("")))
	path := w.buy([]byte("hello"))
	app, err := activeApp()
	require.NoError(t, err)

	kept := &http.Client{Transport: &http.Transport{}}
	defer kept.CloseIdleConnections()
	get := func() *http.Response {
		res, err := kept.Get(w.url(path))
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, res.Body)
		require.NoError(t, err)
		res.Body.Close()
		return res
	}
	require.False(t, get().Close)
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", w.port))
	require.NoError(t, err)
	defer conn.Close()
	require.Eventually(t, func() bool { return app.ports.awaited() == 1 }, 10*time.Second, time.Millisecond)

	next := w.caddyfile(oneStore("\t\tpurchase {\n\t\t\tlife 9h\n\t\t}\n"))
	loaded := make(chan error, 1)
	go func() { loaded <- caddy.Load(next, true) }()
	require.Eventually(t, app.ports.passing.Load, 10*time.Second, time.Millisecond)
	require.True(t, get().Close, "a connection that is kept leads to the server that goes")
	require.Eventually(t, func() bool { return !get().Close }, 10*time.Second, time.Millisecond, "a new one leads to the one that comes")
	select {
	case err := <-loaded:
		require.Fail(t, "the reload did not wait", "%v", err)
	default:
	}
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n", path, w.port)
	require.NoError(t, err)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, "hello", string(body))
	require.NoError(t, <-loaded)
}
