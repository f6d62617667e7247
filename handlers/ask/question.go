package ask

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/record"
)

// Bounds of questions.
const (
	maxOpen   = 64 // at once
	maxOthers = 48 // of them not about a purchase, so that guesses leave room for those
	maxDenied = 1 << 14
	maxSilent = 1 << 10

	answerTime = 2 * time.Second        // until a question is given up
	patience   = 250 * time.Millisecond // until a node counts as slow
	importTime = 2 * time.Second        // for keeping what was found
	deniedTime = 2 * time.Second        // how long a no is kept
	silentTime = time.Second            // how long a node that did not answer is not asked
)

// question is one that is asked now.
type question struct {
	topic  record.Topic
	cancel context.CancelFunc
	known  bool // what it asks for was committed meanwhile; guarded by Asker.mu
	done   chan struct{}
	err    error // when done is closed
}

// ask returns when what other nodes know of a subject is known here, or there
// is nothing to know. All who ask for the same wait for one question.
func (a *Asker) ask(ctx context.Context, s subject) error {
	if q, denied := a.lookup(s); denied {
		return nil
	} else if q != nil {
		return q.wait(ctx)
	}
	p, ok := a.plan(s)
	if !ok {
		if a.deps.Ready() {
			return nil
		}
		return unsure(ErrUnsure) // what is being caught up with may hold it
	}
	q, err := a.begin(p, []string{s.key}, &s)
	if err != nil {
		return err
	}
	return q.wait(ctx)
}

// askAll asks for many keys at once.
func (a *Asker) askAll(ctx context.Context, topic record.Topic, keys []string) error {
	p, ok := a.plan(subject{topic: topic})
	if !ok {
		if a.deps.Ready() {
			return nil
		}
		return unsure(ErrUnsure)
	}
	q, err := a.begin(p, keys, nil)
	if err != nil {
		return err
	}
	err = q.wait(ctx)
	q.cancel() // nobody else waits for it
	return err
}

// lookup tells whether a subject is asked about already, or was denied just now.
func (a *Asker) lookup(s subject) (q *question, denied bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if until, ok := a.denied[s]; ok {
		if time.Now().Before(until) {
			return nil, true
		}
		a.forget(s)
	}
	return a.asked[s], false
}

// begin starts a question, or joins the one about s that began meanwhile.
func (a *Asker) begin(p plan, keys []string, s *subject) (*question, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s != nil {
		if q := a.asked[*s]; q != nil {
			return q, nil
		}
	}
	if a.closed {
		return nil, unsure(ErrUnsure)
	}
	if !a.room(p.topic) {
		return nil, busy()
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	q := &question{topic: p.topic, cancel: cancel, done: make(chan struct{})}
	a.open[q] = struct{}{}
	if s != nil {
		a.asked[*s] = q
		a.watched.Add(1)
	}
	a.waits.Add(1)
	go func() {
		defer a.waits.Done()
		defer cancel()
		a.run(ctx, q, p, keys, s)
	}()
	return q, nil
}

// room tells whether another question may be asked; a.mu is held.
func (a *Asker) room(topic record.Topic) bool {
	if len(a.open) >= maxOpen {
		return false
	}
	if topic == record.Purchase {
		return true
	}
	others := 0
	for q := range a.open {
		if q.topic != record.Purchase {
			others++
		}
	}
	return others < maxOthers
}

// wait returns what the question came to, or the end of who waits.
func (q *question) wait(ctx context.Context) error {
	select {
	case <-q.done:
		return q.err
	case <-ctx.Done():
		return fmt.Errorf("waiting for other nodes: %w", ctx.Err())
	}
}

// run asks and keeps what is found.
func (a *Asker) run(ctx context.Context, q *question, p plan, keys []string, s *subject) {
	replies := newReplies(a, p, keys)
	found, doubt := replies.gather(ctx, s != nil)
	if len(found) > 0 {
		// It is kept also where nobody waits for it any longer.
		kept, cancel := context.WithTimeout(context.WithoutCancel(ctx), importTime)
		if err := a.deps.Engine.Import(kept, found); err != nil {
			a.deps.Log.Warn("what another node answered is not kept", zap.String("topic", string(p.topic)), zap.Error(err))
			found, doubt = nil, ErrUnsure
		}
		cancel()
	}
	a.end(q, s, len(found) > 0, doubt)
	q.cancel()
	replies.close()
}

// end says what a question came to. doubt is why somebody may know more, nil
// where nobody does.
func (a *Asker) end(q *question, s *subject, found bool, doubt error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.open, q)
	if s != nil {
		delete(a.asked, *s)
		a.watched.Add(-1)
	}
	single := s != nil
	switch {
	case q.known, single && found:
	case doubt != nil:
		q.err = unsure(doubt)
	case single:
		a.deny(*s)
	}
	close(q.done)
}

// deny keeps a no for a while; a.mu is held.
func (a *Asker) deny(s subject) {
	a.sweep()
	if _, again := a.denied[s]; !again && len(a.denied) < maxDenied {
		a.denied[s] = time.Now().Add(deniedTime)
		a.watched.Add(1)
	}
}

// sweep forgets what was denied long enough ago, now and then; a.mu is held.
func (a *Asker) sweep() {
	now := time.Now()
	if now.Before(a.swept.Add(2 * deniedTime)) {
		return
	}
	a.swept = now
	for s, until := range a.denied {
		if !now.Before(until) {
			a.forget(s)
		}
	}
}

// forget drops a no; a.mu is held.
func (a *Asker) forget(s subject) {
	delete(a.denied, s)
	a.watched.Add(-1)
}

// committed is told what is committed: it ends a no, and the questions for
// which it is the answer. It is a watcher.
func (a *Asker) committed(records []record.Record) {
	if a.watched.Load() == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sweep()
	for i := range records {
		if records[i].Deleted {
			continue
		}
		s := subject{records[i].Topic, records[i].Key}
		if _, ok := a.denied[s]; ok {
			a.forget(s)
		}
		if q := a.asked[s]; q != nil {
			q.known = true
			q.cancel()
		}
	}
}

// isSilent tells whether an address did not answer just now.
func (a *Asker) isSilent(address string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	until, ok := a.silent[address]
	return ok && time.Now().Before(until)
}

// hush has an address not asked for a while.
func (a *Asker) hush(address string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.silent) >= maxSilent {
		clear(a.silent)
	}
	a.silent[address] = time.Now().Add(silentTime)
}
