// Package handover has a reload lose no connection.
//
// Caddy opens the TCP ports of a new configuration beside those of the one that
// it replaces (SO_REUSEPORT), lets both be served for a moment and then closes
// the old ones. What the kernel had queued at an old socket by then, and what was
// still shaking hands with it, is reset: it spreads new connections over all
// sockets of a port, and tells nobody how many wait.
//
// On Linux this package tells the kernel which socket of a port new connections
// go to. It is the first one, until a reload is certain (Keep); then the new one,
// and the old one is closed only when nothing waits there any more (Begin). When
// it is closed, the new one is the first (Finish). No privilege is needed.
//
// Elsewhere nothing is done, and nothing is done to ports whose listeners don't
// lead to a TCP socket of their own, or which another process has opened as well.
package handover

import (
	"net"
	"reflect"
)

// maxWrappers bounds how deep a listener may be wrapped.
const maxWrappers = 16

// socketOf finds the TCP listener inside of one that is wrapped: by crypto/tls, by
// Caddy and by the listener wrappers of a configuration. All of them are structs
// with the one that they wrap in a field Listener, which is embedded; nil is
// returned for those that aren't.
func socketOf(l net.Listener) *net.TCPListener {
	for range maxWrappers {
		if tcp, ok := l.(*net.TCPListener); ok {
			return tcp
		}
		v := reflect.Indirect(reflect.ValueOf(l))
		if v.Kind() != reflect.Struct {
			return nil
		}
		field := v.FieldByName("Listener")
		if !field.IsValid() || !field.CanInterface() {
			return nil
		}
		inner, ok := field.Interface().(net.Listener)
		if !ok {
			return nil
		}
		l = inner
	}
	return nil
}
