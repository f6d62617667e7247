package monitor

import (
	"context"
	"time"

	"github.com/ooseio/oose/heartbeat/vote"
)

// hear takes in the votes that a node tells. The caller holds m.mu.
func (m *Monitor) hear(from string, ballots []vote.Ballot) {
	now := time.Now()
	for _, b := range ballots {
		if b.Voter == m.opts.Self {
			continue // what this node says it knows best
		}
		if _, news := m.ledger.Take(b, from, now); news {
			m.stale, m.spread = true, m.ledger.Version()
			m.nudge()
		}
	}
}

// act does what can't wait for the next round.
func (m *Monitor) act(ctx context.Context) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.decide(now)
	if m.settings.Off {
		return
	}
	for _, o := range m.others {
		if o.urgent {
			m.probe(ctx, o)
		}
	}
	for _, id := range m.neighbours(now) {
		m.tell(ctx, m.others[id], now)
	}
}

// neighbours are the nodes that are told of changes at once: whom this node
// probes, and who probes it. The caller holds m.mu.
func (m *Monitor) neighbours(now time.Time) []string {
	const rounds = 3
	var list []string
	known := make(map[string]bool)
	add := func(id string) {
		if !known[id] && m.others[id] != nil {
			known[id] = true
			list = append(list, id)
		}
	}
	for _, id := range m.watched {
		add(id)
	}
	for _, id := range m.asked {
		add(id)
	}
	for id, o := range m.others {
		if !o.heardFrom.IsZero() && now.Sub(o.heardFrom) < rounds*m.settings.Interval {
			add(id)
		}
	}
	return list
}

// tell has a node hear of what is news, unless it is being told already or does
// not answer. The caller holds m.mu.
func (m *Monitor) tell(ctx context.Context, o *other, now time.Time) {
	if o.acked >= m.spread || o.telling || o.series.Failures() > 0 {
		return
	}
	if list, upTo := m.ledger.Since(o.acked, o.node.ID, now); len(list) == 0 {
		o.acked = upTo
		return
	}
	o.telling = true
	id, timeout := o.node.ID, m.settings.Timeout
	m.tasks.Go(func() {
		m.count.tells.Add(1)
		err := m.exchange(ctx, id, timeout)
		m.mu.Lock()
		defer m.mu.Unlock()
		if o := m.others[id]; o != nil {
			if o.telling = false; err == nil && o.acked < m.spread {
				m.nudge() // there is more by now
			}
		}
	})
}

// Answer takes in a message of another node, and returns what to answer.
func (m *Monitor) Answer(message Message) Answer {
	answer := Answer{Node: m.opts.Self, Started: m.started, Ready: m.opts.Ready(), Stores: m.opts.Stores()}
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count.answers.Add(1)
	if !m.running || m.settings.Off {
		return answer
	}
	answer.Doubting = m.doubting
	m.hear(message.From, message.Votes)
	o := m.others[message.From]
	if o == nil {
		return answer // it is not known here yet, or no more
	}
	o.heardFrom = now
	if m.noteRun(o, message.Started) {
		m.nudge()
	}
	var have uint64
	if message.HaveOf == m.started {
		have = message.Have
		o.acked = max(o.acked, have)
	}
	answer.Votes, answer.Version = m.ledger.Since(have, message.From, now)
	return answer
}
