// Package probe is how nodes probe one another and tell one another of down
// votes: both ends of one call, over the signed client of the cluster.
//
//	POST /cluster/probe   {from, started, votes…} → {node, started, ready, stores, votes…}
//
// Votes go this way with either engine of records, and not through Redis where
// there is one: who is available must be decided also while that is away.
package probe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/heartbeat/monitor"
)

// Path is where nodes are probed.
const Path = "/cluster/probe"

// maxBody bounds what either side sends, in bytes.
const maxBody = 1 << 20

var (
	// ErrOtherNode says that another node answers at the address than is
	// registered there.
	ErrOtherNode = errors.New("another node answers at this address")
	// ErrAnswer says that a node answered what can't be read.
	ErrAnswer = errors.New("unexpected answer to a probe")
)

// Doer sends a call to another node, signed. *cluster.Client is one.
type Doer interface {
	Do(r *http.Request) (*http.Response, error)
}

// Transport probes other nodes by HTTP.
type Transport struct{ Client Doer }

var _ monitor.Transport = Transport{}

// Probe is monitor.Transport's. A node that answers, and proves to be one of the
// cluster, is well whatever its status: an older one has no such route, and one
// that is about to end refuses.
func (t Transport) Probe(ctx context.Context, to monitor.Node, m monitor.Message) (monitor.Answer, error) {
	raw, err := json.Marshal(m)
	if err != nil {
		return monitor.Answer{}, fmt.Errorf("probing %s: %w", to.Name, err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(to.Address, "/")+Path, bytes.NewReader(raw))
	if err != nil {
		return monitor.Answer{}, fmt.Errorf("probing %s: %w", to.Name, err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := t.Client.Do(r)
	if err != nil {
		return monitor.Answer{}, fmt.Errorf("probing %s: %w", to.Name, err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	a, err := read(resp, to.ID)
	if err != nil {
		return monitor.Answer{}, fmt.Errorf("probing %s: %w", to.Name, err)
	}
	return a, nil
}

// read reads the answer of the node with an id.
func read(resp *http.Response, id string) (monitor.Answer, error) {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return monitor.Answer{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return monitor.Answer{Mute: true}, nil
	}
	var a monitor.Answer
	if len(raw) > maxBody || json.Unmarshal(raw, &a) != nil {
		return monitor.Answer{}, ErrAnswer
	}
	if a.Node != id {
		return monitor.Answer{}, fmt.Errorf("%w: %.64q", ErrOtherNode, a.Node)
	}
	return a, nil
}

// Answerer is asked what to answer. *monitor.Monitor is one.
type Answerer interface {
	Answer(m monitor.Message) monitor.Answer
}

// Handler answers probes that came from a node of the cluster; whoever mounts
// it has seen to that.
type Handler struct {
	Answerer Answerer
	Caller   func(ctx context.Context) string // the id of the node that signed a request
}

// ServeHTTP answers one probe.
func (h Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mine, err := handlers.Methods{http.MethodPost}.Check(w, r)
	if err == nil && !mine {
		return
	}
	if err == nil {
		err = h.serve(w, r)
	}
	if err != nil {
		_ = handlers.WriteFault(w, r, handlers.AsFault(err), false, false) // a node that is gone needs no answer
	}
}

func (h Handler) serve(w http.ResponseWriter, r *http.Request) error {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return handlers.Faultf(handlers.Malformed, "The probe could not be read").Because(err)
	}
	var m monitor.Message
	if err := json.Unmarshal(raw, &m); err != nil {
		return handlers.Faultf(handlers.Malformed, "The probe is not valid JSON").Because(err)
	}
	if m.From == "" || m.From != h.Caller(r.Context()) {
		return handlers.Faultf(handlers.Malformed, "The probe is signed by another node than it says")
	}
	_ = handlers.WriteJSON(w, r, http.StatusOK, h.Answerer.Answer(m)) // a node that is gone needs no answer
	return nil
}
