package caddymodule

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

func withVars(r *http.Request, vars map[string]any) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, vars))
}

func TestClientOf(t *testing.T) {
	for _, tt := range []struct {
		ip     any
		proto  string
		trust  bool
		addr   string
		scheme string
	}{
		{"192.0.2.1", "", false, "192.0.2.1", "http"},
		{"::ffff:192.0.2.1", "", false, "192.0.2.1", "http"},
		{"fe80::1%eth0", "", false, "fe80::1", "http"},
		{"192.0.2.1", "https", false, "192.0.2.1", "http"},
		{"192.0.2.1", "https", true, "192.0.2.1", "https"},
		{"192.0.2.1", "gopher", true, "192.0.2.1", "http"},
	} {
		r := withVars(httptest.NewRequest(http.MethodGet, "http://x/", nil), map[string]any{
			caddyhttp.ClientIPVarKey: tt.ip, caddyhttp.TrustedProxyVarKey: tt.trust,
		})
		r.Header.Set("X-Forwarded-Proto", tt.proto)
		addr, scheme := clientOf(r)
		require.Equal(t, netip.MustParseAddr(tt.addr), addr)
		require.Equal(t, tt.scheme, scheme)
	}
	addr, _ := clientOf(withVars(httptest.NewRequest(http.MethodGet, "http://x/", nil), map[string]any{}))
	require.False(t, addr.IsValid())
}

func TestStreamsEndAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s streams
		s.init()
		here, there := net.Pipe()
		defer there.Close()
		r := httptest.NewRequest(http.MethodGet, "http://x/", nil)
		r = r.WithContext(context.WithValue(r.Context(), caddyhttp.ConnCtxKey, here))
		running := s.begin(httptest.NewRecorder(), r)
		require.Equal(t, 1, s.count())

		s.endAfter(30*time.Second, zap.NewNop())
		s.endAfter(time.Second, zap.NewNop()) // the first one counts
		ended := make(chan error, 1)
		go func() {
			_, err := here.Read(make([]byte, 1))
			ended <- err
		}()
		began := time.Now()
		require.Error(t, <-ended)
		require.Equal(t, 30*time.Second, time.Since(began))
		running.end()
		require.Zero(t, s.count())
		s.close()
	})
}

func TestStreamsCloseWithoutEnding(t *testing.T) {
	var s streams
	s.init()
	s.close()
}
