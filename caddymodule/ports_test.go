package caddymodule

import (
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFirstRequestsAreAwaitedForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p ports
		var conns []net.Conn
		for range 3 {
			here, there := net.Pipe()
			defer here.Close()
			defer there.Close()
			p.note(here, http.StateNew)
			conns = append(conns, here)
		}
		require.Equal(t, 3, p.awaited())
		p.note(conns[0], http.StateActive)
		p.note(conns[0], http.StateIdle)
		p.note(conns[1], http.StateClosed)
		require.Equal(t, 1, p.awaited())
		time.Sleep(speaksWithin)
		require.Zero(t, p.awaited(), "it was opened in advance")
		p.note(conns[2], http.StateClosed)
		p.silent.Range(func(any, any) bool { t.Error("a connection is kept"); return false })
	})
}
