package swarm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
)

// Paths of the requests between nodes.
const (
	helloPath   = "/cluster/hello"
	journalPath = "/cluster/journal"
)

const (
	nodeHeader   = "OOSE-Node"    // the caller's id; whoever mounts ServeHTTP has checked it
	serverHeader = "OOSE-Journal" // the own source of the node that sends a stream
	headTimeout  = 10 * time.Second
	idleTimeout  = 25 * time.Second // a stream's frames come every 10 s
)

// hello asks another node who it is.
func (s *Swarm) hello(ctx context.Context, address string, mine hello) (peer hello, clock reading, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	showed := s.measure()
	resp, err := s.call(ctx, http.MethodPost, address+helloPath, mine)
	if err != nil {
		return hello{}, reading{}, err
	}
	defer closeBody(resp)
	peer, err = parseHello(resp.Body)
	return peer, showed(peer.Time), err
}

// catalogue asks another node what it has.
func (s *Swarm) catalogue(ctx context.Context, address string) (catalogue, offer, reading, error) {
	showed := s.measure()
	resp, err := s.call(ctx, http.MethodGet, address+journalPath, nil)
	if err != nil {
		return catalogue{}, offer{}, reading{}, err
	}
	defer closeBody(resp)
	c, o, err := parseCatalogue(resp.Body)
	return c, o, showed(c.Time), err
}

// sendAcks tells another node what was synced here.
func (s *Swarm) sendAcks(ctx context.Context, address string, claims map[string]uint64) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := s.call(ctx, http.MethodPost, address+journalPath, acks{Node: s.self().ID, Claims: claims})
	if err != nil {
		return err
	}
	closeBody(resp)
	return nil
}

// receive reads a source's stream from another node into the journal. wait
// tells for how long nothing came.
func (s *Swarm) receive(ctx context.Context, address, source, server string, wait *waiting, claimed func(uint64)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	wait.begin()
	timer := time.AfterFunc(headTimeout, func() { cancel(errSilent) })
	defer timer.Stop()
	since := s.j.Since(source, server)
	u := address + journalPath + "/" + url.PathEscape(source) + "?since=" + strconv.FormatUint(since, 10)
	resp, err := s.call(ctx, http.MethodGet, u, nil)
	if err != nil {
		return silence(ctx, err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get(serverHeader); got != server {
		return fmt.Errorf("%w: the stream is from the journal %.40q, not %.40q", errDropped, got, server)
	}
	timer.Reset(idleTimeout)
	body := &watched{r: resp.Body, timer: timer, wait: wait}
	return silence(ctx, s.j.Follow(ctx, source, server, body, claimed))
}

var errSilent = errors.New("it accepted, and sent nothing")

// silence says that a call was ended because nothing came, where that is why.
func silence(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errSilent) {
		return cause
	}
	return err
}

// watched puts off the end of a stream while something comes.
type watched struct {
	r     io.ReadCloser
	timer *time.Timer
	wait  *waiting
}

func (w *watched) Read(b []byte) (int, error) {
	w.wait.begin()
	defer w.wait.end()
	n, err := w.r.Read(b)
	if n > 0 {
		w.timer.Reset(idleTimeout)
	}
	return n, err
}

// Close ends a Read that waits.
func (w *watched) Close() error { return w.r.Close() }

// waiting tells for how long something has been waited for.
type waiting struct{ since atomic.Int64 }

func (w *waiting) begin() { w.since.Store(time.Now().UnixNano()) }
func (w *waiting) end()   { w.since.Store(0) }

// long is 0 while what came is being worked on.
func (w *waiting) long() time.Duration {
	if since := w.since.Load(); since != 0 {
		return time.Duration(time.Now().UnixNano() - since)
	}
	return 0
}

// call sends a request with a JSON body, and returns an answer that is 200.
func (s *Swarm) call(ctx context.Context, method, u string, body any) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, u, content)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := s.opts.Client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer closeBody(resp)
	no := &refusal{status: resp.StatusCode}
	if err := readJSON(resp.Body, maxRefusal, &no.refused); err != nil {
		no.refused = refused{}
	}
	return nil, no
}

// closeBody reads what is left of a small body, so that its connection can be
// used again.
func closeBody(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, maxRefusal)
	_ = resp.Body.Close()
}
