package swarm

import (
	"context"
	"errors"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
)

const (
	lookupEvery   = time.Minute
	lookupTimeout = 5 * time.Second
	maxFound      = 200 // addresses taken from one lookup
)

var errNothingFound = errors.New("the lookup found no address")

// A finder looks one name up again and again. What it found stays known while
// lookups fail or find nothing: DNS that is away must not take nodes away.
type finder struct {
	text      string
	query     query
	cancel    context.CancelFunc
	addresses []string // found last
	asked     bool     // a lookup has succeeded
	err       string   // of the last lookup
}

// search is a finder's goroutine.
func (s *Swarm) search(ctx context.Context, f *finder) {
	for failures := 0; ; {
		addresses, err := s.lookup(ctx, f.query)
		if ctx.Err() != nil {
			return
		}
		s.found(f, addresses, err)
		wait := lookupEvery
		if err == nil {
			failures = 0
		} else {
			wait = backoff(failures)
			failures++
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// found takes the result of a lookup.
func (s *Swarm) found(f *finder, addresses []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if text := errorText(err); text != f.err {
			f.err = text
			s.log.Warn("looking up where other nodes are", zap.String("join", f.text), zap.Error(err), zap.Int("known", len(f.addresses)))
		}
		s.nudge()
		return
	}
	f.asked, f.err = true, ""
	if !slices.Equal(f.addresses, addresses) {
		f.addresses = addresses
		s.log.Info("looked up where other nodes are", zap.String("join", f.text), zap.Strings("addresses", addresses))
	}
	for _, a := range addresses {
		s.know(a, "")
	}
	s.nudge()
}

// lookup returns the addresses that a name stands for, sorted.
func (s *Swarm) lookup(ctx context.Context, q query) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	scheme, port := s.ownScheme()
	if q.port != "" {
		port = q.port
	}
	var list []string
	if q.srv {
		_, records, err := s.opts.Resolver.LookupSRV(ctx, "", "", q.name)
		if err != nil && len(records) == 0 {
			return nil, err
		}
		for _, r := range records {
			list = append(list, foundAddress(scheme, strings.TrimSuffix(r.Target, "."), strconv.Itoa(int(r.Port))))
		}
	} else {
		hosts, err := s.opts.Resolver.LookupHost(ctx, q.name)
		if err != nil {
			return nil, err
		}
		for _, h := range hosts {
			list = append(list, foundAddress(scheme, h, port))
		}
	}
	slices.Sort(list)
	list = slices.DeleteFunc(slices.Compact(list), func(a string) bool { return a == "" })
	if len(list) == 0 {
		return nil, errNothingFound
	}
	return list[:min(len(list), maxFound)], nil
}

// foundAddress makes an address of what DNS said, "" where that is not one.
func foundAddress(scheme, host, port string) string {
	a, err := parseAddress(scheme + "://" + net.JoinHostPort(host, port))
	if err != nil {
		return ""
	}
	return a
}

// ownScheme returns scheme and port of this node's own address. Those of a
// cluster are set up alike, so what DNS does not say of the others is taken from it.
func (s *Swarm) ownScheme() (scheme, port string) {
	if u, err := url.Parse(s.self().Address); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
		scheme, port = u.Scheme, u.Port()
	} else {
		scheme = "https"
	}
	if port == "" {
		port = standardPort(scheme)
	}
	return scheme, port
}

// SetJoin replaces Options.Join. Nodes that were joined before stay known.
func (s *Swarm) SetJoin(join []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.join = make(map[string]bool)
	wanted := make(map[string]bool)
	for _, text := range join {
		q, isQuery, err := parseQuery(text)
		address := ""
		if !isQuery {
			address, err = parseAddress(text)
		}
		switch {
		case err != nil:
			s.log.Warn("join names nothing that could be a node", zap.Error(err))
		case isQuery:
			wanted[text] = true
			if s.finders[text] == nil {
				s.finders[text] = &finder{text: text, query: q}
			}
		default:
			s.join[address] = true
			s.know(address, "")
		}
	}
	for text, f := range s.finders {
		if !wanted[text] {
			if f.cancel != nil {
				f.cancel()
			}
			delete(s.finders, text)
		}
	}
	s.nudge()
}

// pinned tells whether an address is kept as long as the configuration or DNS
// names it. The caller holds s.mu.
func (s *Swarm) pinned(address string) bool {
	if s.join[address] {
		return true
	}
	for _, f := range s.finders {
		if slices.Contains(f.addresses, address) {
			return true
		}
	}
	return false
}
