package journal

import (
	"context"
	"fmt"
	"io"

	"github.com/ooseio/oose/record"
)

// silence is how long not a byte may come from a server.
const silence = 2 * markEvery

// Follow reads a stream of a source from a server (a node's id) and keeps what
// it brings, until the stream ends. claimed, which may be nil, is told each
// time that the claim has moved, after this is durable. Where r can be closed,
// it is when Follow ends, so that a Read that waits comes back.
//
// Its errors: ErrStream (garbage, oversized frames), with nothing kept of the
// bad frame; ErrSilent, when not a byte came for 20 s; ErrResume; ErrForked; ctx's; r's,
// io.EOF among them; the engine's.
func (j *Journal) Follow(ctx context.Context, source, server string, r io.Reader, claimed func(claim uint64)) error {
	if source == "" || len(source) > record.MaxKey || source == j.Source() {
		return fmt.Errorf("following %.40q: %w", source, record.ErrInvalid)
	}
	j.counters.follows.Add(1)
	defer j.counters.follows.Add(-1)
	if claimed == nil {
		claimed = func(uint64) {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	events := make(chan event, 2)
	read := make(chan struct{})
	go func() {
		defer close(read)
		newStreamReader(source, r, func() { cancel(ErrSilent) }).run(ctx, events)
	}()
	f := &follower{j: j, source: source, server: server, claimed: claimed, told: j.state(source).claim}
	err := f.run(ctx, events)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	cancel(nil)
	if c, ok := r.(io.Closer); ok {
		_ = c.Close() // nothing that was read depends on it
	}
	<-read
	return fmt.Errorf("following: %w", err)
}

// follower is one that follows.
type follower struct {
	j       *Journal
	source  string
	server  string
	claimed func(uint64)
	told    uint64 // the claim that was told last

	from   *origin // of the stream, as it began last
	pass   *pass   // until its mark
	held   []incoming
	marked uint64 // the last mark
}

func (f *follower) run(ctx context.Context, events <-chan event) error {
	for {
		select {
		case e := <-events:
			if err := f.take(ctx, e); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// take handles what was read. Records are held until it is known what comes
// behind them: a mark is committed together with them.
func (f *follower) take(ctx context.Context, e event) error {
	if e.mark != nil {
		if e.err = f.unsound(*e.mark); e.err == nil {
			return f.mark(ctx, *e.mark)
		}
	}
	if err := f.commit(ctx, nil); err != nil {
		return err
	}
	switch {
	case e.err != nil:
		return e.err
	case e.begin != nil:
		return f.begin(ctx, *e.begin)
	}
	f.held = e.records
	return nil
}

// begin checks that the server answers what was asked.
func (f *follower) begin(ctx context.Context, w begin) error {
	if w.source == f.source {
		if err := f.meet(ctx, &w); err != nil {
			return err
		}
	}
	s := f.j.state(f.source)
	resumed := f.j.resumes.get(f.source, f.server)
	switch {
	case w.source != f.source:
		return fmt.Errorf("%w: it is of another source", ErrStream)
	case w.over && (w.since != 0 || w.dropped > w.claim):
		return fmt.Errorf("%w: it starts over from %d, with %d dropped of %d", ErrStream, w.since, w.dropped, w.claim)
	case w.since > max(s.claim, resumed):
		return fmt.Errorf("%w: it begins at %d, and here is only what is before %d", ErrStream, w.since, max(s.claim, resumed))
	case w.since > s.claim && w.dropped > s.claim:
		f.j.resumes.forget(f.source, f.server)
		return ErrResume
	}
	f.pass = &pass{begin: w, last: w.since}
	return nil
}

// meet sees to it that what comes continues what is here.
func (f *follower) meet(ctx context.Context, w *begin) error {
	from, split, err := f.j.meet(w)
	if err == nil {
		split, err = f.j.withheld(from)
	}
	switch {
	case split != nil:
		if res := f.j.submit(ctx, f.j.live, &request{fork: split}); res.err != nil {
			return fmt.Errorf("splitting a source: %w", res.err)
		}
		return ErrForked
	case err != nil:
		return err
	}
	f.from = from
	return nil
}

// commit writes what is held, and what is known with it.
func (f *follower) commit(ctx context.Context, m *mark) error {
	if len(f.held) == 0 && m == nil {
		return nil
	}
	queue := f.j.live
	if f.pass != nil {
		queue = f.j.background
	}
	if err := f.j.take(ctx, queue, f.from, f.held, f.pass, m); err != nil {
		return fmt.Errorf("keeping what came: %w", err)
	}
	if p := f.pass; p != nil && len(f.held) > 0 {
		for i := range f.held {
			if p.over {
				p.told.add(f.held[i].Revision)
			}
		}
		p.last = f.held[len(f.held)-1].Revision
		if !p.over && m == nil {
			f.j.resumes.set(f.source, f.server, min(p.last, p.claim))
		}
	}
	f.held = nil
	return nil
}

// unsound tells what is wrong with a mark.
func (f *follower) unsound(s status) error {
	p := f.pass
	switch {
	case s.claim < f.marked:
		return fmt.Errorf("%w: a mark at %d behind one at %d", ErrStream, s.claim, f.marked)
	case p != nil && p.over && (s.claim != p.claim || s.dropped > s.claim):
		return fmt.Errorf("%w: it started over up to %d, and marks %d with %d dropped", ErrStream, p.claim, s.claim, s.dropped)
	case p != nil && s.claim > p.claim:
		return fmt.Errorf("%w: it began with a claim of %d and marks %d", ErrStream, p.claim, s.claim)
	}
	return nil
}

// mark is the end of a pass or of a live batch: what the server has of the
// source is here, so the claim may grow to the server's.
func (f *follower) mark(ctx context.Context, s status) error {
	p := f.pass
	f.marked = s.claim
	m := &mark{source: f.source, claim: s.claim, at: s.at}
	if p != nil && p.over {
		if err := f.commit(ctx, nil); err != nil {
			return err
		}
		if err := f.drop(ctx, s.claim); err != nil {
			return err
		}
		m.dropped = s.dropped
	}
	if now := f.j.state(f.source); m.claim <= now.claim && m.dropped <= now.dropped {
		m = nil
	}
	if err := f.commit(ctx, m); err != nil {
		return err
	}
	f.pass = nil
	f.j.resumes.forget(f.source, f.server)
	f.j.completed(f.source, s.at) // where nothing was committed, too
	if claim := f.j.state(f.source).claim; claim > f.told {
		f.told = claim
		f.claimed(claim)
	}
	return nil
}

// drop removes what is no longer alive, by the server's word: it was not told
// in a pass from the beginning. A process that ends in the midst of it begins
// anew, because its claim has not moved.
func (f *follower) drop(ctx context.Context, claim uint64) error {
	// From here on nobody who lags may bring any of it back.
	if err := f.j.take(ctx, f.j.background, f.from, nil, nil, &mark{source: f.source, settled: claim}); err != nil {
		return fmt.Errorf("dropping what is gone: %w", err)
	}
	if f.pass.fresh.Load() {
		return nil // nothing is here but what was told
	}
	reader := &toldReader{deltas: f.pass.told.deltas}
	for start := sourcePrefix(f.source); start != nil; {
		gone, next, err := f.j.untold(f.source, reader, start, claim)
		if err == nil {
			_, err = f.j.forget(ctx, gone, false)
		}
		if err != nil {
			return fmt.Errorf("dropping what is gone: %w", err)
		}
		start = next
	}
	return nil
}
