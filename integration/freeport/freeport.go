// Package freeport finds ports for the servers that tests start.
package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Ports come from below those that the kernels give to outgoing connections
// and to listeners on port 0 (from 32768 on Linux, from 49152 elsewhere): what
// is given here stays free while its server is stopped and until it starts
// again, however many connections there are meanwhile.
const first, past = 10_000, 32_768

var given struct {
	sync.Mutex
	next int
}

// Get returns a port on which nothing listens, neither TCP nor UDP, on any
// address of this machine. No two calls of a process return the same, before all
// were given; processes beside each other begin at random places.
func Get(t testing.TB) int {
	t.Helper()
	given.Lock()
	defer given.Unlock()
	if given.next == 0 {
		given.next = first + rand.IntN(past-first)
	}
	for range past - first {
		port := given.next
		if given.next++; given.next == past {
			given.next = first
		}
		if free(port) {
			return port
		}
	}
	t.Fatalf("no port from %d to %d is free", first, past-1)
	return 0
}

// Address is Get as an address of 127.0.0.1.
func Address(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", Get(t))
}

func free(port int) bool {
	address := fmt.Sprintf("0.0.0.0:%d", port)
	l, err := net.Listen("tcp4", address)
	if err != nil {
		return false
	}
	defer l.Close()
	p, err := net.ListenPacket("udp4", address)
	if err != nil {
		return false
	}
	return p.Close() == nil
}
