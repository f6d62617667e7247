package clones

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/record"
)

// ClientDeps is what a Client works with.
type ClientDeps struct {
	Doer Doer
	// Importer is given the inventory records that stores answer with; nil: the
	// engine knows them as soon as the store does.
	Importer record.Importer
	Log      *zap.Logger // nil: none

	// Stall is for how long a clone's body may bring no byte while it is read;
	// 0: 5 s.
	Stall time.Duration
}

// Client reads and writes clones at other nodes. Its methods can be called at
// the same time.
type Client struct {
	ClientDeps
	remindEvery time.Duration
	closing     chan struct{} // closed by Close

	mu      sync.Mutex
	closed  bool
	running int           // goroutines
	idle    chan struct{} // made by Close, ends with the last of them
}

// NewClient returns a client. Close ends it.
func NewClient(deps ClientDeps) *Client {
	if deps.Log == nil {
		deps.Log = zap.NewNop()
	}
	if deps.Stall <= 0 {
		deps.Stall = stallAfter
	}
	return &Client{ClientDeps: deps, remindEvery: remindEvery, closing: make(chan struct{})}
}

// Close refuses new work and waits until every goroutine has ended, or ctx has.
// Uploads must have been ended before.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		close(c.closing)
	}
	if c.idle == nil {
		c.idle = make(chan struct{})
		if c.running == 0 {
			close(c.idle)
		}
	}
	idle := c.idle
	c.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for requests at other nodes: %w", context.Cause(ctx))
	}
}

// spawn runs f in a goroutine that Close waits for. It reports false where the
// client is closed.
func (c *Client) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.running++
	go func() {
		defer c.ended()
		f()
	}()
	return true
}

func (c *Client) ended() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
	if c.running == 0 && c.idle != nil {
		close(c.idle)
	}
}

// call sends a JSON question, nil for none, and reads a JSON answer.
func (c *Client) call(ctx context.Context, method, url string, in, out any) error {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("asking another node: %w", err)
		}
		body = bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return fmt.Errorf("asking another node: %w", err)
	}
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.Doer.Do(r)
	if err != nil {
		return fmt.Errorf("asking another node: %w", causeOf(ctx, err))
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	return answer(resp, out)
}

// answer reads what a node answered; one that refused is an error.
func answer(resp *http.Response, out any) error {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("reading another node's answer: %w", err)
	case len(raw) > maxAnswer:
		return fmt.Errorf("%w: more than %d bytes", ErrAnswer, maxAnswer)
	case resp.StatusCode/100 != 2:
		return refusalOf(resp.StatusCode, raw)
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return nil
}

// refusalOf is the error of a node that did not do what it was asked.
func refusalOf(status int, raw []byte) error {
	var m faultMessage
	if json.Unmarshal(raw, &m) != nil {
		return fmt.Errorf("%w: status %d", ErrAnswer, status)
	}
	const most = 200
	if len(m.Error) > most {
		m.Error = m.Error[:most]
	}
	return &Refusal{Status: status, Text: m.Error, Err: errorOf(m)}
}

// Refusal is the answer of a node that did not do what it was asked, and says
// why.
type Refusal struct {
	Status int
	Text   string
	Err    error // what callers decide on
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("%v: the node answered %d: %q", r.Err, r.Status, r.Text)
}

// Unwrap returns the error on which callers decide.
func (r *Refusal) Unwrap() error { return r.Err }

// causeOf says why a request failed that its context ended.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// join puts a node's address before a path.
func join(address, path string) string { return strings.TrimSuffix(address, "/") + path }
