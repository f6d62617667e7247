package swarm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ooseio/oose/journal"
)

// Bounds of what other nodes may send.
const (
	maxHello     = 128 << 10 // bytes
	maxCatalogue = 4 << 20
	maxAcks      = 1 << 20
	maxRefusal   = 4 << 10
	maxSources   = 10_000 // in a catalogue, and in acknowledgements
	maxPeers     = 100    // told, and taken, in one hello
	maxText      = 255    // characters of a name, an id
)

// hello is what two nodes tell each other, as request and as answer.
type hello struct {
	Protocol int      `json:"protocol"`
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	Domain   string   `json:"domain"`
	Address  string   `json:"address,omitempty"`
	Version  string   `json:"version,omitempty"` // of the program
	Source   string   `json:"source"`
	Started  int64    `json:"started"` // milliseconds since 1970
	Time     int64    `json:"time"`    // the sender's clock, milliseconds since 1970
	Peers    []string `json:"peers,omitempty"`
	Leaving  bool     `json:"leaving,omitempty"` // goodbye
	Claim    uint64   `json:"claim,omitempty"`   // in an answer: how far the asker's source is known
}

// same tells whether two hellos are of one process.
func (h hello) same(other hello) bool { return h.ID == other.ID && h.Started == other.Started }

// catalogue is what a node has.
type catalogue struct {
	Node    string                `json:"node"`
	Started int64                 `json:"started"`
	Source  string                `json:"source"`         // the node's own
	Time    int64                 `json:"time,omitempty"` // its clock, milliseconds since 1970
	Sources []journal.SourceState `json:"sources"`
}

// acks say what a node has synced.
type acks struct {
	Node   string            `json:"node"`
	Claims map[string]uint64 `json:"claims"`
}

// refused is the body of an answer that is none.
type refused struct {
	Error  string `json:"error"`
	Yields string `json:"yields,omitempty"` // of two nodes with one name: which of both gives way
}

// What refused.Yields may be.
const (
	callerYields = "caller"
	serverYields = "server"
)

var errGarbage = errors.New("the other end sent garbage")

// readJSON reads a whole body of at most limit bytes.
func readJSON(r io.Reader, limit int64, into any) error {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	switch {
	case err != nil:
		return err
	case int64(len(b)) > limit:
		return fmt.Errorf("%w: more than %d bytes", errGarbage, limit)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%w: %.100q", errGarbage, err.Error())
	}
	return nil
}

// parseHello reads a hello, and leaves out of it what can't be used.
func parseHello(r io.Reader) (hello, error) {
	var h hello
	if err := readJSON(r, maxHello, &h); err != nil {
		return h, err
	}
	if h.Protocol != Protocol {
		return h, nil // nothing else is known of it
	}
	if !idText(h.ID) || !plain(h.Name) || h.Name == "" || !plain(h.Domain) || !plain(h.Version) || !idText(h.Source) {
		return h, fmt.Errorf("%w: a hello without id, name or source", errGarbage)
	}
	if h.Address != "" {
		a, err := parseAddress(h.Address)
		if err != nil {
			return h, fmt.Errorf("%w: its address is none", errGarbage)
		}
		h.Address = a
	}
	peers := h.Peers[:0]
	for _, p := range h.Peers[:min(len(h.Peers), maxPeers)] {
		if a, err := parseAddress(p); err == nil {
			peers = append(peers, a)
		}
	}
	h.Peers = peers
	return h, nil
}

// offer is a catalogue, as it is used.
type offer struct {
	source string            // the node's own
	claims map[string]uint64 // up to where it has each source
}

// parseCatalogue reads a catalogue.
func parseCatalogue(r io.Reader) (catalogue, offer, error) {
	var c catalogue
	if err := readJSON(r, maxCatalogue, &c); err != nil {
		return c, offer{}, err
	}
	if !idText(c.Node) || !idText(c.Source) || len(c.Sources) > maxSources {
		return c, offer{}, fmt.Errorf("%w: a catalogue of no node, or of too many sources", errGarbage)
	}
	o := offer{source: c.Source, claims: make(map[string]uint64, len(c.Sources)+1)}
	o.claims[c.Source] = 0 // also while it has not written anything
	for _, state := range c.Sources {
		if !idText(state.Source) {
			return c, offer{}, fmt.Errorf("%w: a catalogue with a source %.40q", errGarbage, state.Source)
		}
		if state.Source == c.Source {
			o.claims[state.Source] = state.Head
		} else {
			o.claims[state.Source] = state.Claim
		}
	}
	return c, o, nil
}

// parseAcks reads acknowledgements.
func parseAcks(r io.Reader) (acks, error) {
	var a acks
	if err := readJSON(r, maxAcks, &a); err != nil {
		return a, err
	}
	if !idText(a.Node) || len(a.Claims) > maxSources {
		return a, fmt.Errorf("%w: acknowledgements of no node, or of too many sources", errGarbage)
	}
	for source := range a.Claims {
		if !idText(source) {
			return a, fmt.Errorf("%w: acknowledgements of a source %.40q", errGarbage, source)
		}
	}
	return a, nil
}

// idText tells whether a text can be the identity of a node or a source: it
// stands in URLs and logs as it is.
func idText(s string) bool {
	return s != "" && s != "." && s != ".." && len(s) <= maxText && !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-_.", c)
	})
}

// plain tells whether a text can be shown.
func plain(s string) bool {
	return len(s) <= maxText && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\uFFFD' })
}

// errorText is an error for an operator: one line, not too long.
func errorText(err error) string {
	text := strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, err.Error())
	return text[:min(len(text), 400)]
}
