package monitor

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// round starts a probe of every node that this one watches, and returns the
// time to the next.
func (m *Monitor) round(ctx context.Context) time.Duration {
	settings, nodes := m.opts.Settings(), m.opts.Nodes()
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settings = settings
	m.ledger.SetLife(settings.VoteLife)
	m.adopt(nodes)
	if late := now.Sub(m.lastRound); late > 2*settings.Interval && late > settings.Timeout {
		// This node stood still, and could not hear what the others answered.
		m.opts.Log.Info("this node stood still: what it asked meanwhile does not count", zap.Duration("late", late))
		for _, o := range m.others {
			o.series.Forgive()
		}
	}
	m.lastRound = now
	m.decide(now)
	if m.moved {
		m.assign()
	}
	if settings.Off {
		return settings.Interval
	}
	for _, id := range m.watched {
		m.probe(ctx, m.others[id])
	}
	m.count.rounds.Add(1)
	return settings.Interval
}

// probe starts a probe. The caller holds m.mu.
func (m *Monitor) probe(ctx context.Context, o *other) {
	o.urgent = false
	n, ok := o.series.Start()
	if !ok {
		return
	}
	id, timeout := o.node.ID, m.settings.Timeout
	m.tasks.Go(func() {
		began := time.Now()
		err := m.exchange(ctx, id, timeout)
		if ctx.Err() != nil {
			return // it says nothing about the other
		}
		m.count.probed(time.Since(began), err)
		m.judge(id, n, err)
	})
}

// exchange sends a node what it has not heard, and takes in what it answers.
func (m *Monitor) exchange(ctx context.Context, id string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	m.mu.Lock()
	o := m.others[id]
	if o == nil {
		m.mu.Unlock()
		return nil // it left the cluster
	}
	to := o.node
	message := Message{From: m.opts.Self, Started: m.started, Have: o.have, HaveOf: o.started}
	var upTo uint64
	message.Votes, upTo = m.ledger.Since(o.acked, id, time.Now())
	m.mu.Unlock()
	answer, err := m.opts.Transport.Probe(ctx, to, message)
	m.count.votesSent.Add(uint64(len(message.Votes)))
	if err != nil || answer.Mute {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if o = m.others[id]; o == nil {
		return nil
	}
	if m.noteRun(o, answer.Started) {
		m.nudge()
	}
	if message.HaveOf == answer.Started || message.HaveOf == 0 {
		o.acked = max(o.acked, upTo)
	}
	m.hear(id, answer.Votes)
	o.have = max(o.have, answer.Version)
	m.remember(o, answer)
	return nil
}

// remember keeps what a node last answered of itself. The caller holds m.mu.
func (m *Monitor) remember(o *other, answer Answer) {
	answer.Votes = nil
	changed := o.answered.IsZero() || len(answer.Stores) != len(o.answer.Stores)
	for i := range answer.Stores {
		changed = changed || answer.Stores[i].Readable != o.answer.Stores[i].Readable ||
			answer.Stores[i].Writable != o.answer.Stores[i].Writable || answer.Stores[i].ID != o.answer.Stores[i].ID
	}
	o.answer, o.answered = answer, time.Now()
	if changed {
		m.dirty = true
		m.nudge()
	}
}

// judge takes in how a probe ended.
func (m *Monitor) judge(id string, n uint64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.others[id]
	if o == nil {
		return
	}
	o.err = err
	switch {
	case err == nil:
		o.series.Good(n)
	case o.watched:
		o.series.Bad(n)
	default: // others judge it meanwhile; this node would not notice its return
		o.series.Reset()
	}
	switch failures := o.series.Failures(); {
	case failures == 0 && o.unreached:
		o.unreached = false
	case failures >= m.settings.Retries && !o.unreached:
		o.unreached = true
	default:
		return
	}
	m.stale, m.dirty = true, true
	m.nudge()
}
