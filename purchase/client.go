package purchase

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// Window is how long a client is known after its last request for a purchase:
// what it asks for meanwhile is the same use.
const Window = 10 * time.Minute

// Bounds of what is remembered of clients.
const (
	maxKept     = 128        // clients of one purchase that its record holds, the latest
	keptFor     = Window / 2 // how old what a record says of a client that goes on may become
	forgetTries = 8          // clients that are looked at to find one to forget
)

// clientKey names a client of a purchase. The token is a part of what it is
// made from: who does not know that learns nothing about the address.
type clientKey uint64

// MarshalText gives the key's 16 hex digits.
func (k clientKey) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%016x", uint64(k)), nil }

// UnmarshalText reads what MarshalText gives.
func (k *clientKey) UnmarshalText(b []byte) error {
	n, err := strconv.ParseUint(string(b), 16, 64)
	if err != nil {
		return fmt.Errorf("client %.20q of a purchase: %w", b, err)
	}
	*k = clientKey(n)
	return nil
}

// keyOf names a client by its address, of IPv6 the /64, and its user agent.
func keyOf(t Token, addr netip.Addr, userAgent string) clientKey {
	addr = plainAddr(addr)
	network := addr.As16()
	if addr.Is6() {
		clear(network[8:])
	}
	var room [256]byte
	b := append(room[:0], t...)
	b = append(b, network[:]...)
	b = append(b, userAgent...)
	sum := sha256.Sum256(b)
	return clientKey(binary.BigEndian.Uint64(sum[:8]))
}

// client is one that used a purchase.
type client struct {
	running int           // its requests
	last    time.Duration // when it last began or ended one
}

// known tells whether a client's requests go on being the same use.
func (u *uses) known(c *client) bool {
	return c != nil && (c.running > 0 || u.now()-c.last < Window)
}

// admit lets a client's request in, counted or not; the shard is locked.
func (u *uses) admit(shard *useShard, n *counter, p *Purchase, key clientKey) (*client, error) {
	c := n.clients[key]
	if !u.known(c) {
		if n.own+n.others >= p.Count {
			return nil, ErrSpent
		}
		n.own++
		u.call()
	}
	if c == nil {
		if u.clients.Load() >= u.bound {
			u.forget(shard, n)
		}
		c = u.add(n, key)
	}
	c.running++
	c.last = u.now()
	return c, nil
}

func (u *uses) add(n *counter, key clientKey) *client {
	c := &client{}
	n.clients[key] = c
	u.clients.Add(1)
	return c
}

func (u *uses) drop(n *counter, key clientKey) {
	delete(n.clients, key)
	u.clients.Add(-1)
}

func (u *uses) ended(shard *useShard, c *client) {
	shard.mu.Lock()
	defer shard.mu.Unlock()
	c.running--
	c.last = u.now()
}

// learn takes in clients that a record tells of; the shard is locked.
func (u *uses) learn(n *counter, clients map[clientKey]int64) {
	now := u.now()
	for key, milli := range clients {
		last := min(now, time.UnixMilli(milli).Sub(u.began))
		if now-last >= Window {
			continue
		}
		c := n.clients[key]
		if c == nil {
			if u.clients.Load() >= u.bound {
				return
			}
			c = u.add(n, key)
			c.last = last
		}
		c.last = max(c.last, last)
	}
}

// latest returns when the latest clients of a counter made a request, for its
// record; the shard is locked.
func (u *uses) latest(n *counter) map[clientKey]int64 {
	now := u.now()
	type entry struct {
		key  clientKey
		last time.Duration
	}
	entries := make([]entry, 0, len(n.clients))
	for key, c := range n.clients {
		if c.running > 0 {
			entries = append(entries, entry{key, now})
		} else if u.known(c) {
			entries = append(entries, entry{key, c.last})
		}
	}
	if len(entries) > maxKept {
		slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(b.last, a.last) })
		entries = entries[:maxKept]
	}
	clients := make(map[clientKey]int64, len(entries))
	for _, e := range entries {
		clients[e.key] = u.began.Add(e.last).UnixMilli()
	}
	return clients
}

// goesOn tells whether clients made requests since their counter was written.
func (n *counter) goesOn() bool {
	for _, c := range n.clients {
		if c.running > 0 || c.last > n.saved {
			return true
		}
	}
	return false
}

// forget makes room for a client where there is none: of a few, the one that
// has been silent longest. Should it return it is counted again. The clients
// of the same purchase come first, so that who fills one does no harm to others.
func (u *uses) forget(shard *useShard, n *counter) {
	tries := forgetTries
	if u.forgetOne(n, &tries) {
		return
	}
	for _, other := range shard.counters {
		if tries <= 0 || u.forgetOne(other, &tries) {
			return
		}
	}
}

func (u *uses) forgetOne(n *counter, tries *int) bool {
	var oldest *client
	var at clientKey
	for key, c := range n.clients {
		if c.running == 0 && (oldest == nil || c.last < oldest.last) {
			oldest, at = c, key
		}
		if *tries--; *tries <= 0 {
			break
		}
	}
	if oldest == nil {
		return false
	}
	u.drop(n, at)
	return true
}
