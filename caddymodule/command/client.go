package command

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ooseio/oose/caddymodule/adminapi"
	"github.com/ooseio/oose/handlers"
)

// Errors of the commands on which their exit status depends.
var (
	errUnreachable = errors.New("no server answers")
	errDamaged     = errors.New("damage was found")
)

// adminError is a refusal by the running node.
type adminError struct {
	Status  int
	Message string
}

// Error is what the node said, for the one who typed the command.
func (e *adminError) Error() string { return e.Message }

// adminClient asks a running node, through Caddy's admin API.
type adminClient struct {
	address string // as it was given, for messages
	base    string // http://host:port
	origin  string // for the Origin header, "" on a socket
	warn    func(string)
	http    *http.Client
}

// dialTimeout bounds the connection to the admin API, which is nearly always
// on the same machine.
const dialTimeout = 5 * time.Second

// newAdminClient returns a client of the admin API at one of Caddy's network
// addresses: `localhost:2019`, `unix//run/oose.sock`.
func newAdminClient(address string) (*adminClient, error) {
	expanded, err := caddy.NewReplacer().ReplaceOrErr(address, true, true)
	if err != nil {
		return nil, fmt.Errorf("reading the admin address %q: %w", address, err)
	}
	parsed, err := caddy.ParseNetworkAddress(expanded)
	if err != nil {
		return nil, fmt.Errorf("reading the admin address %q: %w", address, err)
	}
	if parsed.PortRangeSize() > 1 {
		return nil, fmt.Errorf("reading the admin address %q: it names several ports", address)
	}
	c := &adminClient{address: address, warn: func(string) {}}
	network, target := parsed.Network, parsed.JoinHostPort(0)
	if parsed.IsUnixNetwork() {
		// The rights of the socket's file may follow its path.
		target, _, _ = strings.Cut(parsed.Host, "|")
		c.base = "http://127.0.0.1" // some host is needed; none is looked at
	} else {
		c.base = "http://" + target
		c.origin = c.base
	}
	dialer := &net.Dialer{Timeout: dialTimeout}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, target)
		},
		DisableCompression:    true,
		ExpectContinueTimeout: time.Second,
		WriteBufferSize:       256 << 10,
		ReadBufferSize:        256 << 10,
	}}
	return c, nil
}

// close lets go of the connection.
func (c *adminClient) close() { c.http.CloseIdleConnections() }

// do sends one request and returns the answer of a node that agreed; what it
// refused is an *adminError. The caller closes the answer's body.
func (c *adminClient) do(r *http.Request) (*http.Response, error) {
	if c.origin != "" {
		r.Header.Set("Origin", c.origin)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, c.explain(r.Context(), err)
	}
	if resp.Header.Get(handlers.AuditHeader) != "" {
		c.warn("the node's audit log can't be written; what was done is in the node's log")
	}
	if resp.StatusCode < 400 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, c.refusal(resp)
}

// request makes a request whose body is v as JSON, or none where v is nil.
func (c *adminClient) request(ctx context.Context, method, path string, v any) (*http.Request, error) {
	var body io.Reader
	if v != nil {
		text, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("encoding the request: %w", err)
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	if v != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	return r, nil
}

// call asks with in as JSON, unless it is nil, and reads the JSON answer into
// out, unless that is nil.
func (c *adminClient) call(ctx context.Context, method, path string, in, out any) error {
	r, err := c.request(ctx, method, path, in)
	if err != nil {
		return err
	}
	return c.callRequest(r, out)
}

func (c *adminClient) callRequest(r *http.Request, out any) error {
	resp, err := c.do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("reading the answer: %w", c.explain(r.Context(), err))
	}
	return nil
}

// maxLine bounds one line of a stream of progress, in bytes.
const maxLine = 4 << 20

// stream asks for something that takes long: it hands every line of progress
// to onProgress and reads the result, which is the last line, into result.
func (c *adminClient) stream(ctx context.Context, path string, in any, onProgress func(adminapi.ProgressLine), result any) error {
	return c.streamLines(ctx, path, in, func(line adminapi.StreamLine) {
		if line.Progress != nil {
			onProgress(*line.Progress)
		}
	}, result)
}

// streamLines is stream for every line that is neither the last nor a warning.
// onLine may be nil.
func (c *adminClient) streamLines(ctx context.Context, path string, in any, onLine func(adminapi.StreamLine), result any) error {
	r, err := c.request(ctx, http.MethodPost, path, in)
	if err != nil {
		return err
	}
	resp, err := c.do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var line adminapi.StreamLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("reading the answer: %w", err)
		}
		switch {
		case line.Error != "":
			return &adminError{Status: http.StatusInternalServerError, Message: line.Error}
		case line.Result != nil:
			return json.Unmarshal(line.Result, result)
		case line.Warning != "":
			c.warn(line.Warning)
		case onLine != nil:
			onLine(line)
		}
	}
	if err := lines.Err(); err != nil {
		return c.explain(ctx, err)
	}
	return errors.New("the answer broke off: the server ended, its log says why")
}

// explain turns what the network said into what to do.
func (c *adminClient) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return fmt.Errorf("%w at %s (%v): is it running? start it with '%s run --config <Caddyfile>', or name its admin API with --address or --config",
			errUnreachable, c.address, op.Err, binaryName())
	}
	return fmt.Errorf("asking the server at %s: %w", c.address, err)
}

// refusal reads the error that a server answered with.
func (c *adminClient) refusal(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var said struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(text, &said) == nil && said.Error != "" {
		return &adminError{Status: resp.StatusCode, Message: said.Error}
	}
	if resp.StatusCode == http.StatusNotFound {
		return &adminError{resp.StatusCode, fmt.Sprintf("the server at %s is a Caddy without OOSE", c.address)}
	}
	return &adminError{resp.StatusCode, fmt.Sprintf("the server at %s answered %s: %s", c.address, resp.Status, bytes.TrimSpace(text))}
}

// binaryName is what this program is called in its own messages.
func binaryName() string {
	if caddy.CustomBinaryName != "" {
		return caddy.CustomBinaryName
	}
	return "caddy"
}
