package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/ooseio/oose/record"
)

// incoming is a version that is ready to be written. What takes time and needs
// no order is done before it reaches the committer.
type incoming struct {
	record.Record
	key    []byte // its record key
	stored []byte // its value in the database
	sum    sum    // what it adds to its topic's digest
}

func makeIncoming(r record.Record) incoming {
	in := incoming{Record: r, key: recordKey(&r), stored: encodeRecord(&r)}
	in.Value = nil
	if n := len(r.Value); n > 0 {
		in.Value = in.stored[len(in.stored)-n:]
	}
	if !r.Deleted {
		in.sum = sumOf(in.key, in.stored)
	}
	return in
}

// mark is what is known of a source once certain versions are written.
type mark struct {
	source  string
	claim   uint64 // up to here everything that is alive is here
	dropped uint64 // tombstones up to here may be missing
	settled uint64 // see Journal.settled
	at      int64  // what it wrote before, by its clock in milliseconds, is in the claim; 0: unknown
}

// receive writes what others wrote, and what is known with it.
func (b *batch) receive(r *request) (result, error) {
	own := b.state(b.source)
	for i := range r.incoming {
		if in := &r.incoming[i]; in.Source == b.source && (in.Revision > own.head || own.leaps.within(in.Revision)) {
			return result{err: fmt.Errorf("%w: revision %d of this journal's own source, which has come to %d",
				record.ErrInvalid, in.Revision, own.head)}, nil
		}
	}
	if o := r.from; o != nil {
		if b.j.committed.parted[o.source] != o.parts {
			return result{err: ErrForked}, nil
		}
		if b.forks(o) {
			return result{err: ErrForked}, nil
		}
		b.leap(o)
	}
	if p := r.pass; p != nil && !p.begun {
		p.begun = true
		b.spoil(p.source, p)
		if b.state(p.source).head == 0 {
			p.fresh.Store(true)
			b.j.fresh[p.source] = p
		}
	}
	for i := range r.incoming {
		if err := b.accept(&r.incoming[i], r.pass); err != nil {
			if errors.Is(err, errUnread) {
				return unreadable(r.incoming[i].Topic, err), nil
			}
			return result{}, err
		}
	}
	if r.mark != nil {
		b.advance(r.mark)
	}
	return result{}, nil
}

var errUnread = errors.New("what is kept can't be read")

// accept writes a version unless what is here is as new. What is not newer
// than the claim is here, or was removed since: then it must not come back.
func (b *batch) accept(in *incoming, p *pass) error {
	s := b.state(in.Source)
	b.branches(in.Source)
	if in.Source == b.source || in.Revision <= max(s.claim, b.j.settled[in.Source]) {
		return nil
	}
	b.spoil(in.Source, p)
	if in.Revision > s.head {
		s.head, s.last = in.Revision, max(s.last, in.Time)
		b.sources[in.Source], b.dirty = s, true
	}
	g, err := b.place(in, p)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnread, err)
	}
	b.j.clock.Observe(in.Time)
	return b.keep(g, in)
}

// keep puts a version, unless one that replaces it is here.
func (b *batch) keep(g *group, in *incoming) error {
	replaced, err := b.supersede(g, in)
	if err != nil || replaced {
		return err
	}
	if i, found := g.find(in.Member, in.Source); found {
		old := &g.versions[i]
		apart := b.state(in.Source).leaps.behind(old.Revision, in.Revision) >= minLeap // perhaps of two continuations
		if old.Revision >= in.Revision || apart && old.Final && !in.Final {
			return nil
		}
	}
	return b.put(g, in)
}

// forks tells whether a stream turned out to be of another continuation since it
// began: what is here came meanwhile.
func (b *batch) forks(o *origin) bool {
	s := b.state(o.source)
	_, began, _ := parseBranch(o.source)
	return slices.ContainsFunc(o.leaps, func(l leap) bool {
		if _, known := s.leaps.to(l.To); known || l.To <= began {
			return false
		}
		_, crossed := s.leaps.crossed(l)
		return crossed || l.has(s.head) || l.has(s.claim)
	})
}

// leap notes what a stream says of its source's leaps.
func (b *batch) leap(o *origin) {
	s := b.state(o.source)
	if with := s.leaps.with(o.leaps...); len(with) != len(s.leaps) {
		s.leaps = with
		b.sources[o.source], b.dirty = s, true
	}
	b.branches(o.source)
}

// branches notes whether a source is a branch: its past has to be looked at.
func (b *batch) branches(source string) {
	if root, _, is := parseBranch(source); is {
		b.j.branched[root] = true
	}
}

// spoil ends the freshness of a source's pass, unless it is p that writes.
func (b *batch) spoil(source string, p *pass) {
	if other := b.j.fresh[source]; other != nil && other != p {
		other.fresh.Store(false)
		delete(b.j.fresh, source)
	}
}

// place returns the group into which a version goes. While catching up most
// versions are new: then the others under their key need not be read.
func (b *batch) place(in *incoming, p *pass) (*group, error) {
	if p == nil || b.j.branched[rootOf(in.Source)] {
		return b.load(in.Topic, in.Key)
	}
	certain := p.fresh.Load() && p.seen.first(in.key)
	id := groupID{in.Topic, in.Key}
	g := b.groups[id]
	if g != nil {
		if _, found := g.find(in.Member, in.Source); found || !g.partial {
			return b.load(in.Topic, in.Key)
		}
	}
	if !certain {
		_, err := b.view.Get(in.key)
		if err == nil {
			return b.load(in.Topic, in.Key)
		}
		if !errors.Is(err, badger.ErrKeyNotFound) {
			return nil, err
		}
	}
	if g == nil {
		g = &group{changed: true, partial: true}
		b.groups[id] = g
	}
	return g, nil
}

// advance notes what is known of a source from now on.
func (b *batch) advance(m *mark) {
	s := b.state(m.source)
	if m.claim > s.claim || m.dropped > s.dropped {
		s.claim, s.dropped = max(s.claim, m.claim), max(s.dropped, m.dropped)
		s.head = max(s.head, s.claim)
		b.sources[m.source], b.dirty = s, true
		b.complete[m.source] = max(b.complete[m.source], m.at)
	}
	if m.settled > b.j.settled[m.source] {
		b.j.settled[m.source] = m.settled
	}
	if m.claim > 0 {
		delete(b.j.fresh, m.source) // its pass is over
		if s.claim >= b.j.settled[m.source] {
			delete(b.j.settled, m.source)
		}
	}
}

// revised is a version of a source, by its revision and key.
type revised struct {
	revision uint64
	key      []byte // its record key
}

// forget drops versions that are no longer alive, unless they were replaced
// meanwhile. What did not fit into the batch is left for the next. Those of
// former owners are not told of by anybody's mark: that they went is remembered
// as with tombstones.
func (b *batch) forget(gone []revised, former bool) (result, error) {
	var res result
	for _, v := range gone {
		if b.full() {
			break
		}
		res.handled++
		id, err := parseRecordKey(v.key)
		if err != nil {
			return result{err: fmt.Errorf("%w: %w", record.ErrUnavailable, err)}, nil
		}
		g, err := b.load(id.Topic, id.Key)
		if err != nil {
			return unreadable(id.Topic, err), nil
		}
		i, found := g.find(id.Member, id.Source)
		if !found || g.versions[i].Revision != v.revision {
			continue
		}
		if s := b.state(id.Source); former {
			if s.catching(v.revision) {
				continue
			}
			b.dropped(id.Source, v.revision)
		}
		if err := b.drop(g, i); err != nil {
			return result{}, err
		}
		res.dropped++
	}
	return res, nil
}

// take has the committer write what others wrote, in as many requests as it
// needs; the mark goes with the last one.
func (j *Journal) take(ctx context.Context, queue chan<- *request, from *origin, items []incoming, p *pass, m *mark) error {
	for {
		n, bytes := 0, 0
		for ; n < len(items) && n < maxChanges && bytes < maxBytes; n++ {
			bytes += items[n].weight()
		}
		req := &request{from: from, incoming: items[:n], pass: p}
		if items = items[n:]; len(items) == 0 {
			req.mark = m
		}
		if res := j.submit(ctx, queue, req); res.err != nil {
			return res.err
		}
		if len(items) == 0 {
			return nil
		}
	}
}
