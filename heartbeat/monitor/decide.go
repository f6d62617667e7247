package monitor

import (
	"cmp"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/heartbeat/vote"
)

// refreshes is how often in its life a vote is said again.
const refreshes = 4

// decide draws the conclusions from what is known now: what this node says, who
// is down, whom it watches. The caller holds m.mu.
func (m *Monitor) decide(now time.Time) {
	if m.ledger.Expire(now) {
		m.stale = true
	}
	m.judgeSelf()
	m.speak(now)
	if m.stale {
		m.stale = false
		if m.council.Decide(m.nodes.roster, m.ledger.Votes(m.runOf)) {
			m.moved, m.dirty = true, true
		}
	}
	m.publish(now)
}

// judgeSelf finds out whether this node should doubt itself. The caller holds m.mu.
func (m *Monitor) judgeSelf() {
	watched, failing := 0, 0
	for _, id := range m.watched {
		if m.council.Down(id) {
			continue
		}
		watched++
		if m.others[id].series.Failures() > 0 {
			failing++
		}
	}
	if doubting := vote.Doubt(watched, failing); doubting != m.doubting {
		m.doubting = doubting
		if doubting {
			m.opts.Log.Warn("this node reaches next to none of the others: it doubts itself, and casts no votes",
				zap.Int("watched", watched), zap.Int("unreached", failing))
		} else {
			m.opts.Log.Info("this node reaches others again: it votes")
		}
	}
}

// speak makes this node's ballot what it has to say, and says it again now and
// then. The caller holds m.mu.
func (m *Monitor) speak(now time.Time) {
	var votes []vote.Vote
	if !m.settings.Off && !m.doubting && now.Sub(m.since) >= m.settings.StartDelay {
		for _, id := range m.watched {
			if o := m.others[id]; o.unreached && len(votes) < vote.MaxVotes {
				votes = append(votes, vote.Vote{About: id, Started: o.started})
			}
		}
		slices.SortFunc(votes, func(a, b vote.Vote) int { return cmp.Compare(a.About, b.About) })
	}
	same := slices.Equal(votes, m.own.Votes)
	if same && (len(votes) == 0 || now.Sub(m.said) < m.settings.VoteLife/refreshes) {
		return
	}
	if !same {
		m.tellVotes(votes)
	}
	m.own = vote.Ballot{Voter: m.opts.Self, Started: m.started, Seq: m.own.Seq + 1, Votes: votes}
	m.said = now
	m.ledger.Take(m.own, "", now)
	if !same {
		m.stale, m.spread = true, m.ledger.Version()
	}
}

// tellVotes logs and counts how this node's votes change. The caller holds m.mu.
func (m *Monitor) tellVotes(votes []vote.Vote) {
	about := func(list []vote.Vote, id string) bool {
		return slices.ContainsFunc(list, func(v vote.Vote) bool { return v.About == id })
	}
	for _, v := range votes {
		if !about(m.own.Votes, v.About) {
			m.count.cast.Add(1)
			o := m.others[v.About]
			m.opts.Log.Warn("node does not answer: down vote", zap.String("node", o.node.Name), zap.String("address", o.node.Address), zap.Error(o.err))
		}
	}
	for _, v := range m.own.Votes {
		if o := m.others[v.About]; o != nil && !about(votes, v.About) {
			m.count.withdrawn.Add(1)
			m.opts.Log.Info("down vote withdrawn", zap.String("node", o.node.Name))
		}
	}
}

// publish tells what has changed of who is available. The caller holds m.mu.
func (m *Monitor) publish(now time.Time) {
	if !m.dirty {
		return
	}
	m.dirty = false
	h := &heartbeat.Health{Nodes: make(map[string]heartbeat.Standing), Stores: make(map[heartbeat.Carried]heartbeat.StoreHealth)}
	up := m.council.Available(m.nodes.roster)
	for place, n := range m.nodes.list {
		o := m.others[n.ID]
		if o == nil {
			continue // this node itself
		}
		if standing := m.standing(o, up(place), now); standing != heartbeat.Up {
			h.Nodes[n.ID] = standing
			if standing == heartbeat.Trial || standing == heartbeat.Held {
				m.dirty = true // which ends by itself
			}
		}
	}
	for _, id := range m.watched {
		if m.settings.Off {
			break
		}
		for _, s := range m.others[id].answer.Stores {
			h.Stores[heartbeat.Carried{Node: id, Store: s.ID}] = s
		}
	}
	if sameHealth(h, m.health) {
		return
	}
	m.health = h
	m.opts.Changed(h)
}

// sameHealth compares what decides who is chosen; free space moves all the time.
func sameHealth(a, b *heartbeat.Health) bool {
	if len(a.Nodes) != len(b.Nodes) || len(a.Stores) != len(b.Stores) {
		return false
	}
	for id, s := range a.Nodes {
		if other, ok := b.Nodes[id]; !ok || s != other {
			return false
		}
	}
	for at, s := range a.Stores {
		other, ok := b.Stores[at]
		if s.Free = other.Free; !ok || s != other {
			return false
		}
	}
	return true
}

// standing is what is to be said of a node that is up by the votes, or not. The
// caller holds m.mu.
func (m *Monitor) standing(o *other, up bool, now time.Time) heartbeat.Standing {
	down := !up && !m.settings.Off
	unreached := o.unreached && !m.settings.Off
	if away := down || unreached; away != o.away {
		o.away = away
		if away {
			m.count.downs.Add(1)
			o.damping.Lost(now)
			m.opts.Log.Warn("node is not available", zap.String("node", o.node.Name), zap.Bool("byVotes", down), zap.Bool("unreached", unreached))
		} else {
			o.damping.Returned(now)
			m.opts.Log.Info("node is available again", zap.String("node", o.node.Name), zap.Int("flaps", o.damping.Flaps(now)))
		}
	}
	switch {
	case down:
		return heartbeat.Down
	case unreached:
		return heartbeat.Unreached
	}
	switch o.damping.Phase(now) {
	case vote.Trial:
		return heartbeat.Trial
	case vote.Held:
		return heartbeat.Held
	}
	return heartbeat.Up
}
