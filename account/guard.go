package account

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// Errors on which callers decide.
var (
	// ErrBadLogin says that there is no such user, or that the password is another.
	ErrBadLogin = errors.New("unknown user or wrong password")
	// ErrTooMany says that too many wrong passwords came from a client's
	// address; RetryAfter tells when the next may be tried.
	ErrTooMany = errors.New("too many wrong passwords from this address")
)

// Bounds of a guard.
const (
	rememberFor   = 10 * time.Minute
	maxRemembered = 4096
	maxFailures   = 10              // of one address within failureSpan
	maxChecks     = maxFailures / 2 // at the same time; fewer than failures, as each is booked as one
	failureSpan   = time.Minute
	maxAddresses  = 1 << 14
	maxPassword   = 72 // bytes; bcrypt looks at no more
)

// tooMany is an ErrTooMany that knows when to come again.
type tooMany struct{ retry time.Duration }

func (e *tooMany) Error() string { return fmt.Sprintf("%v, try again in %s", ErrTooMany, e.retry) }

func (e *tooMany) Unwrap() error { return ErrTooMany }

// RetryAfter returns after how long an ErrTooMany may be tried again, 0 for
// other errors.
func RetryAfter(err error) time.Duration {
	var e *tooMany
	if errors.As(err, &e) {
		return e.retry
	}
	return 0
}

// guard stands before bcrypt: it remembers pairs that were right, limits those
// who guess, and bounds how much CPU checking may take.
type guard struct {
	now  func() time.Time
	key  [sha256.Size]byte // of this process, so that a memory image tells no password elsewhere
	room chan struct{}     // a place for each check at the same time

	mu       sync.Mutex
	right    map[pair]time.Time // until when they are remembered
	running  map[pair]*checking
	failures map[netip.Prefix]failure
}

// pair is a user's password under the guard's key.
type pair [sha256.Size]byte

// checking is a check that others may wait for.
type checking struct {
	done chan struct{}
	err  error // to be read after done is closed
}

type failure struct {
	since time.Time
	count int
}

func newGuard(now func() time.Time) *guard {
	g := &guard{
		now:      now,
		room:     make(chan struct{}, min(max(1, runtime.GOMAXPROCS(0)/2), maxChecks)),
		right:    make(map[pair]time.Time),
		running:  make(map[pair]*checking),
		failures: make(map[netip.Prefix]failure),
	}
	rand.Read(g.key[:]) // never fails: the program ends if it would
	return g
}

// check tells whether a password is the one of a hash. Who asks the same at
// the same time shares one check. Errors: ErrBadLogin, ErrTooMany, the context's.
func (g *guard) check(ctx context.Context, name, hash, password string, client netip.Addr) error {
	p := g.pair(name, hash, password)
	for {
		c, first := g.join(p)
		if c == nil {
			return nil
		}
		if first {
			c.err = g.compare(ctx, hash, password, addressOf(client))
			g.leave(p, c)
			return c.err
		}
		select {
		case <-c.done:
		case <-ctx.Done():
			return fmt.Errorf("checking a password: %w", ctx.Err())
		}
		if c.err == nil || errors.Is(c.err, ErrBadLogin) {
			return c.err
		}
		// The other gave up, or its address may not try: that says nothing about this one.
	}
}

// join returns the running check of a pair, a new one if there is none (first
// is then true), or nil where the pair is remembered.
func (g *guard) join(p pair) (c *checking, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if until, ok := g.right[p]; ok && g.now().Before(until) {
		return nil, false
	}
	if c, ok := g.running[p]; ok {
		return c, false
	}
	c = &checking{done: make(chan struct{})}
	g.running[p] = c
	return c, true
}

func (g *guard) leave(p pair, c *checking) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.running, p)
	close(c.done)
	if c.err != nil {
		return
	}
	now := g.now()
	if len(g.right) >= maxRemembered {
		makeRoom(g.right, func(until time.Time) bool { return !now.Before(until) })
	}
	g.right[p] = now.Add(rememberFor)
}

func (g *guard) compare(ctx context.Context, hash, password string, address netip.Prefix) error {
	if err := g.refused(address); err != nil {
		return err // without waiting, and in nobody's way
	}
	select {
	case g.room <- struct{}{}:
		defer func() { <-g.room }()
	case <-ctx.Done():
		return fmt.Errorf("checking a password: %w", ctx.Err())
	}
	if err := ctx.Err(); err != nil { // a free place may have won over it
		return fmt.Errorf("checking a password: %w", err)
	}
	// The failure is booked before the check and taken back after it, so that
	// many guesses at the same time get no further than one after the other. It
	// is booked only here, where few are, so that those who wait with right
	// passwords do not count as failures.
	if err := g.fail(address); err != nil {
		return err
	}
	err := bcrypt.CompareHashAndPassword([]byte(hash), []byte(password))
	if err != nil || len(password) > maxPassword {
		return ErrBadLogin
	}
	g.forgive(address)
	return nil
}

// pair names a user's password under the process's key. The hash is a part of
// it: with another password the memory of the former is of no use.
func (g *guard) pair(name, hash, password string) pair {
	mac := hmac.New(sha256.New, g.key[:])
	for _, s := range []string{name, hash, password} {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(s)))
		mac.Write(length[:])
		mac.Write([]byte(s))
	}
	return pair(mac.Sum(nil))
}

// fail books a failure of an address, unless it has had too many.
func (g *guard) fail(address netip.Prefix) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if err := g.tooMany(address, now); err != nil {
		return err
	}
	f, ok := g.failures[address]
	if !ok && len(g.failures) >= maxAddresses {
		makeRoom(g.failures, func(f failure) bool { return now.Sub(f.since) >= failureSpan })
	}
	if !ok || now.Sub(f.since) >= failureSpan {
		f = failure{since: now}
	}
	f.count++
	g.failures[address] = f
	return nil
}

// refused tells whether an address has had too many failures, and books none.
func (g *guard) refused(address netip.Prefix) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.tooMany(address, g.now())
}

func (g *guard) tooMany(address netip.Prefix, now time.Time) error {
	f := g.failures[address]
	if left := failureSpan - now.Sub(f.since); f.count >= maxFailures && left > 0 {
		return &tooMany{retry: left}
	}
	return nil
}

func (g *guard) forgive(address netip.Prefix) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f, ok := g.failures[address]
	if !ok {
		return
	}
	if f.count--; f.count <= 0 {
		delete(g.failures, address)
		return
	}
	g.failures[address] = f
}

// makeRoom deletes what is over from a full map, and if nothing is, anything.
func makeRoom[K comparable, V any](m map[K]V, over func(V) bool) {
	full := len(m)
	for k, v := range m {
		if over(v) {
			delete(m, k)
		}
	}
	for k := range m {
		if len(m) < full {
			return
		}
		delete(m, k)
	}
}

// addressOf is what failures are counted by: an IPv4 address, or the /64 of an
// IPv6 one, which is what one customer has.
func addressOf(client netip.Addr) netip.Prefix {
	client = client.Unmap().WithZone("")
	bits := client.BitLen()
	if client.Is6() {
		bits = 64
	}
	prefix, err := client.Prefix(bits)
	if err != nil { // no address at all
		return netip.Prefix{}
	}
	return prefix
}
