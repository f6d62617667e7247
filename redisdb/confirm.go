package redisdb

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ooseio/oose/record"
)

// recents is how many of the last updates can be confirmed.
const recents = 1 << 13

// recent remembers where the last updates were written.
type recent struct {
	mu  sync.Mutex
	all [recents]written
}

type written struct {
	revision uint64
	tag      int
	key      string // in Redis
	field    string
}

func (r *recent) add(o *op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := len(o.changes) - 1
	r.all[o.ack.Revision%recents] = written{
		revision: o.ack.Revision, tag: o.tag, key: groupKey(o.topic, o.key), field: o.changes[last].Member,
	}
}

func (r *recent) find(revision uint64) (written, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.all[revision%recents]
	return w, w.revision == revision
}

// waitMargin is what a WAIT leaves of the time for its answer to come.
const waitMargin = 5 * time.Millisecond

// confirms asks replicas, for all who wait at once: one WAIT a server is under
// way at any time, however slow its replicas are.
type confirms struct {
	e     *Engine
	asked chan *question
}

// question is one who waits.
type question struct {
	written
	until  time.Time
	server *redis.Client
	copies chan int // takes one
}

func (c *confirms) init(e *Engine) {
	c.e = e
	c.asked = make(chan *question)
}

// Confirm waits until a replica has the write too; see record.Confirmer. Where
// there is no replica it returns at once. It asks the server that is the master
// now: one that was put in the place of a master which died with the write
// knows nothing of it, and confirms nothing.
func (e *Engine) Confirm(ctx context.Context, ack record.Ack) record.Ack {
	w, ok := e.recent.find(ack.Revision)
	if !ok || e.usable(ctx) != nil || e.states[w.tag].away.Load() || e.health.replicas(w.tag) == 0 {
		return ack
	}
	ctx, cancel := context.WithTimeout(ctx, e.within.answer)
	defer cancel()
	until, _ := ctx.Deadline()
	server, err := e.control.client(ctx, w.tag)
	if err != nil {
		return ack
	}
	q := &question{written: w, until: until, server: server, copies: make(chan int, 1)}
	select {
	case e.confirms.asked <- q:
	case <-ctx.Done():
		return ack
	case <-e.running.stopped:
		return ack
	}
	select {
	case n := <-q.copies:
		ack.Copies = max(ack.Copies, n)
	case <-ctx.Done():
	case <-e.running.stopped:
	}
	return ack
}

// run asks in rounds, until ctx ends.
func (c *confirms) run(ctx context.Context) {
	var rounds sync.WaitGroup
	defer rounds.Wait()
	waiting := make(map[*redis.Client][]*question)
	busy := make(map[*redis.Client]bool)
	done := make(chan *redis.Client)
	for {
		select {
		case q := <-c.asked:
			waiting[q.server] = append(waiting[q.server], q)
		case server := <-done:
			delete(busy, server)
		case <-ctx.Done():
			return
		}
		for server, some := range waiting {
			if busy[server] {
				continue
			}
			delete(waiting, server)
			busy[server] = true
			rounds.Go(func() {
				c.round(ctx, server, some)
				select {
				case done <- server:
				case <-ctx.Done():
				}
			})
		}
	}
}

// round asks one server about all who wait. First whether it has what they
// wrote; then something is written after that, on the same connection, for
// WAIT to wait for.
func (c *confirms) round(ctx context.Context, server *redis.Client, some []*question) {
	until := some[0].until
	for _, q := range some {
		if q.until.After(until) {
			until = q.until
		}
	}
	left := time.Until(until) - waitMargin
	if left < time.Millisecond {
		return
	}
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	l, tag := c.e.layout, some[0].tag
	there := make([]*redis.StringCmd, len(some))
	var copies *redis.Cmd
	_ = pipelined(ctx, server, func(p redis.Pipeliner) {
		for i, q := range some {
			topic, key, _ := parseGroupKey(q.key)
			there[i] = p.HGet(ctx, l.records(topic, key), fieldOf(q.field, c.e.source))
		}
		p.Set(ctx, l.marker(tag), some[0].revision, time.Minute)
		copies = p.Do(ctx, "wait", 1, left.Milliseconds())
	})
	replicas, err := copies.Int()
	for i, q := range some {
		n := 1
		topic, key, _ := parseGroupKey(q.key)
		r, err2 := decodeVersion(topic, key, fieldOf(q.field, c.e.source), there[i].Val())
		if err == nil && err2 == nil && r.Revision >= q.revision {
			n += replicas
		}
		q.copies <- n
	}
}
