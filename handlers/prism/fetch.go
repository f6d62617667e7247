package prism

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// Bounds of a fetch from another server.
const (
	fetchIdle    = time.Minute      // without a byte, where the caller does not say
	maxFetchIdle = 10 * time.Minute // whatever the caller says
	maxRedirects = 10
	maxURL       = 8 << 10 // bytes
)

// Errors of a fetch.
var (
	errRefusedAddress = errors.New("address is not one to fetch from")
	errScheme         = errors.New("only http and https are fetched")
	errRedirects      = errors.New("too many redirects")
	errIdle           = errors.New("nothing came for too long")
	errTime           = errors.New("all of it took too long")
)

// adminPort is where Caddy listens for commands: never a place to fetch from.
const adminPort = 2019

// newFetcher returns the client for fetches from other servers. The address is
// checked where it is dialled, behind every lookup of a name and for every
// redirect; the environment's proxies are not used, since they would hide it.
func newFetcher(private bool, denied func(netip.AddrPort) bool) *http.Client {
	public := ssrf.New(ssrf.WithAnyPort())
	control := func(network, address string, c syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("%w: %w", errRefusedAddress, err)
		}
		if !allowedPort(ap.Port()) || denied != nil && denied(netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())) {
			return errRefusedAddress
		}
		if private {
			if ap.Addr().Unmap().IsMulticast() {
				return errRefusedAddress
			}
			return nil
		}
		if err := public.Safe(network, address, c); err != nil {
			return fmt.Errorf("%w: %w", errRefusedAddress, err)
		}
		return nil
	}
	dialer := &net.Dialer{Timeout: 15 * time.Second, Control: control}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    15 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true, // the bytes as they are, also of what is compressed
			DisableKeepAlives:      true, // nothing stays open
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) >= maxRedirects {
				return errRedirects
			}
			if r.URL.Scheme != "http" && r.URL.Scheme != "https" {
				return errScheme
			}
			return nil
		},
	}
}

// allowedPort refuses the ports of other protocols, whose servers might take a
// request for something else, and that of the admin endpoint.
func allowedPort(port uint16) bool {
	return port == 80 || port == 443 || port >= 1024 && port != adminPort
}

// fetch sends a request whose response may stop for at most idle. The
// response's body ends with errIdle where it does. release must be called when
// all is read.
func (h *Handler) fetch(ctx context.Context, r *http.Request, idle time.Duration, follow bool) (resp *http.Response, release func(), err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, h.set.RetrieveTime, errTime)
	ctx, stop := context.WithCancelCause(ctx)
	timer := time.AfterFunc(idle, func() { stop(errIdle) })
	release = func() {
		timer.Stop()
		stop(nil)
		cancel()
	}
	client := *h.fetcher
	if !follow {
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	r = r.WithContext(ctx)
	if h.set.RetrievePrivate {
		// Caddy's admin endpoints refuse this mode, also those of other machines
		// and at other ports than the usual: who may fetch must not configure.
		r.Header.Set("Sec-Fetch-Mode", "no-cors")
	}
	resp, err = client.Do(r)
	if err != nil {
		err = causeOf(ctx, err)
		release()
		return nil, nil, err
	}
	timer.Reset(idle)
	resp.Body = &idleBody{ReadCloser: resp.Body, ctx: ctx, timer: timer, idle: idle}
	closeAll := release
	return resp, func() {
		_ = resp.Body.Close() // it was only read
		closeAll()
	}, nil
}

// causeOf names why a request was given up, where it was.
func causeOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return err
}

// idleBody puts off the end of a fetch with everything that comes.
type idleBody struct {
	io.ReadCloser
	ctx   context.Context //nolint:containedctx // of the one request that the body belongs to
	timer *time.Timer
	idle  time.Duration
}

func (b *idleBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.timer.Reset(b.idle)
	}
	if err != nil && err != io.EOF { //nolint:errorlint // the body's own end stays what it is
		err = causeOf(b.ctx, err)
	}
	return n, err
}
