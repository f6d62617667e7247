package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Errors of Do.
var (
	// ErrOtherSecret says that the other node refused the call because of its
	// signature.
	ErrOtherSecret = errors.New("the other node has another secret")
	// ErrNoProof says that what answered does not know the cluster's secret:
	// nothing of its answer is used.
	ErrNoProof = errors.New("what answered does not know the cluster's secret")
	// ErrNoSecret says that this node has no secret to sign with.
	ErrNoSecret = errors.New("this node has no cluster secret")
)

// Bounds of a call.
const (
	dialTime   = 2 * time.Second
	headerTime = 10 * time.Second // until the answer's header, after the request is sent
	idleConns  = 64               // kept for one address
	maxHeader  = 64 << 10
	maxRefusal = 4 << 10 // bytes read of a refusal, so that its connection can be used again
)

// Options is what a Client works with.
type Options struct {
	Node string // this node's name
	Keys *Keys
	TLS  *tls.Config      // nil: the system's authorities, no client certificate
	Now  func() time.Time // nil: time.Now
	Log  *zap.Logger      // nil: no logs
}

// Client sends calls to other nodes: signed, over HTTP/1.1 or, with TLS, HTTP/2,
// through no proxy, following no redirects. Its methods can be called at the
// same time.
type Client struct {
	opts Options
	// calls have a bounded time until they are answered; patient ones, which wait
	// for disks, don't, and keep no small call waiting on their connections.
	calls, patient *http.Transport

	mu    sync.Mutex
	known map[string]acquaintance // by scheme and host
}

// acquaintance is what was learnt about an address.
type acquaintance struct {
	offset time.Duration // of its clock
	ring   *ring
	key    int       // of the ring, that it takes
	first  time.Time // when the first of them, which is to replace the others, was tried
}

// retryFirst is how long a node that takes a former secret alone is not asked
// again whether it takes the new one.
const retryFirst = time.Second

// maxKnown bounds how many addresses are remembered.
const maxKnown = 4096

// NewClient returns a client. Close ends it.
func NewClient(opts Options) *Client {
	if opts.Keys == nil {
		opts.Keys = NewKeys(nil)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Log == nil {
		opts.Log = zap.NewNop()
	}
	return &Client{opts: opts, calls: newTransport(opts.TLS, headerTime), patient: newTransport(opts.TLS, 0), known: make(map[string]acquaintance)}
}

func newTransport(config *tls.Config, wait time.Duration) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTime, KeepAlive: 10 * time.Second}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		DialTLSContext:         dialTLS(dialer, config),
		ForceAttemptHTTP2:      true,
		ResponseHeaderTimeout:  wait,
		MaxIdleConnsPerHost:    idleConns,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true,
		ReadBufferSize:         64 << 10,
		WriteBufferSize:        64 << 10,
		// A node that hangs keeps its connections: those that don't answer are given
		// up. What a viewer who pauses does not take waits here, one buffer for each.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 5 * time.Second, MaxReceiveBufferPerStream: 1 << 20},
	}
}

// Close closes the connections that nothing uses.
func (c *Client) Close() {
	c.calls.CloseIdleConnections()
	c.patient.CloseIdleConnections()
}

type patientKey struct{}

// Patient returns a context whose calls may be answered as late as they like,
// for what waits for a disk.
func Patient(ctx context.Context) context.Context { return context.WithValue(ctx, patientKey{}, true) }

// Do sends a call and returns the answer of a node that knows the secret,
// whatever its status. Where the other's clock differs, or it does not have this
// node's newest secret yet, it is called once more; a request whose body can't
// be read twice (without GetBody) is not, and an address that is not known yet
// is asked for its time before it. Errors: ErrOtherSecret, ErrNoProof, ErrClock,
// ErrNoSecret, and those of the connection.
func (c *Client) Do(r *http.Request) (*http.Response, error) {
	resp, err := c.do(r)
	if err != nil {
		return nil, fmt.Errorf("calling %s: %w", r.URL.Host, err)
	}
	return resp, nil
}

func (c *Client) do(r *http.Request) (*http.Response, error) {
	if c.opts.Keys.Empty() {
		closeBody(r)
		return nil, ErrNoSecret
	}
	address := r.URL.Scheme + "://" + r.URL.Host
	once := r.Body != nil && r.Body != http.NoBody && r.GetBody == nil
	if once {
		if err := c.meet(r.Context(), address); err != nil {
			closeBody(r)
			return nil, err
		}
	}
	resp, err := c.send(r, address, once)
	// Once for the clock, once for each secret, once for a call that a connection
	// took twice; a node that refuses more often than that means it.
	for tries := len(*c.opts.Keys.ring.Load()) + 1; isRefusal(err) && !once && tries > 0; tries-- {
		again := r.Clone(r.Context())
		if r.GetBody != nil {
			body, bodyErr := r.GetBody()
			if bodyErr != nil {
				return nil, fmt.Errorf("reading the request's body again: %w", bodyErr)
			}
			again.Body = body
		}
		resp, err = c.send(again, address, false)
	}
	return resp, err
}

// refusal is an error after which another try may be let in, by what was learnt.
type refusal struct{ error }

// Unwrap returns what it is.
func (r refusal) Unwrap() error { return r.error }

func isRefusal(err error) bool {
	var r refusal
	return errors.As(err, &r)
}

// meet learns what is to be known about an address, unless it is known.
func (c *Client) meet(ctx context.Context, address string) error {
	c.mu.Lock()
	_, known := c.known[address]
	c.mu.Unlock()
	if known {
		return nil
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address+timePath, nil)
	if err != nil {
		return fmt.Errorf("asking for the time: %w", err)
	}
	resp, err := c.do(r)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// secret chooses that with which a node is called. Calls that can't be made
// twice go by what is known of it; the others find out, so that these need not
// fail when it gives the former secret up.
func (c *Client) secret(who *acquaintance, once bool) (key, bool) {
	keys := c.opts.Keys.ring.Load()
	if len(*keys) == 0 {
		return key{}, false
	}
	if who.ring != keys {
		who.ring, who.key, who.first = keys, 0, c.opts.Now()
	}
	if !once && who.key > 0 && c.opts.Now().Sub(who.first) > retryFirst {
		who.key, who.first = 0, c.opts.Now()
	}
	return (*keys)[who.key], true
}

// send signs and sends a request once.
func (c *Client) send(r *http.Request, address string, once bool) (*http.Response, error) {
	c.mu.Lock()
	who := c.known[address]
	c.mu.Unlock()
	with, ok := c.secret(&who, once)
	if !ok {
		return nil, ErrNoSecret
	}
	signed := r.Clone(r.Context())
	if signed.Header == nil {
		signed.Header = make(http.Header)
	}
	signed.Host = hostOf(r) // what is signed is what is sent
	began := c.opts.Now()
	nonce := with.sign(signed, c.opts.Node, began.Add(who.offset))
	transport := c.calls
	if r.Context().Value(patientKey{}) != nil {
		transport = c.patient
	}
	resp, err := transport.RoundTrip(signed)
	if err != nil {
		return nil, err
	}
	ended := c.opts.Now()
	if !with.proven(resp, nonce) {
		discard(resp)
		return nil, c.unproven(resp, address, who)
	}
	c.learn(resp, address, who, began, ended)
	switch resp.Header.Get(HeaderRefused) {
	case "":
		return resp, nil
	case refusedClock:
		discard(resp)
		return nil, refusal{ErrClock}
	default:
		discard(resp)
		return nil, refusal{ErrReplay}
	}
}

// unproven says what an answer without a proof means. Where it is that of a
// node that refuses the signature, the next call is made with the next secret.
func (c *Client) unproven(resp *http.Response, address string, who acquaintance) error {
	if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get(HeaderRefused) != refusedSignature {
		return fmt.Errorf("%w: it answered %s", ErrNoProof, resp.Status)
	}
	if len(*who.ring) == 1 {
		return ErrOtherSecret
	}
	who.key = (who.key + 1) % len(*who.ring)
	c.keep(address, who)
	return refusal{ErrOtherSecret}
}

// reportOff is how far clocks differ where calls would be refused if it were not
// known.
const reportOff = window

// learn takes over the other's clock, as a proven answer tells it: it was read
// at some time between the call and its answer. Who is known well enough is left
// as it is; so a node that starts anew, and refuses what was signed before, gets
// calls that were signed by its own clock.
func (c *Client) learn(resp *http.Response, address string, who acquaintance, began, ended time.Time) {
	at, err := parseStamp(resp.Header.Get(HeaderTime))
	if err != nil {
		return
	}
	known := who.offset
	who.offset = learnOffset(known, at.Sub(ended), at.Sub(began))
	if off := who.offset; far(off) && !far(known) {
		c.opts.Log.Warn("another node's clock differs from this one's: set them by NTP",
			zap.String("address", address), zap.Duration("ahead", off.Round(time.Millisecond)))
	}
	c.keep(address, who)
}

// learnOffset returns by how much another clock is taken to be ahead, where it
// turns out to be between two bounds, to the millisecond. What is wrong becomes
// the upper one, by which no call looks older than it is; bounds that are far
// apart, of a call that took long, teach nothing.
func learnOffset(known, least, most time.Duration) time.Duration {
	const step = time.Millisecond
	if known >= least-step && known <= most+step || most-least > window/2 {
		return known
	}
	return most
}

func far(offset time.Duration) bool { return offset > reportOff || offset < -reportOff }

// keep remembers what was learnt about an address.
func (c *Client) keep(address string, who acquaintance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.known[address]; !known && len(c.known) >= maxKnown {
		clear(c.known)
	}
	c.known[address] = who
}

// discard gives up an answer; a short one leaves its connection usable.
func discard(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, maxRefusal) // whatever it is
	_ = resp.Body.Close()                              // it was only read
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close() // nothing was read of it
	}
}
