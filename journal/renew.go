package journal

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"

	"go.uber.org/zap"

	"github.com/ooseio/oose/record"
)

// renewing says what is left to do after a database went on as a new source.
type renewing struct {
	Source string `json:"source"` // the old one
	Above  uint64 `json:"above"`  // what it wrote behind this was never its to write
}

// Renew has this journal go on as a new source; the old one is from now on
// followed like any other. It is for a database that was restored from an old
// copy: others know more of its source than itself, so what it has written
// since it was opened bears revisions that others know for something else.
// That is written anew as the new source's.
func (j *Journal) Renew(ctx context.Context) error {
	if err := j.submit(ctx, j.live, &request{renew: true}).err; err != nil {
		return fmt.Errorf("going on as a new source: %w", err)
	}
	return nil
}

func newSource() string { return strings.ToLower(rand.Text()) }

// renew is the committer's part of Renew.
func (j *Journal) renew() error {
	if j.renewing != nil {
		return j.resume() // it failed before
	}
	if err := j.writable(); err != nil {
		return err
	}
	b := j.newBatch()
	defer b.discard()
	old, own := b.source, b.state(b.source)
	next := &renewing{Source: old, Above: j.opened}
	b.source = newSource()
	b.sources[b.source] = state{last: own.last}
	if own.head > j.opened {
		own.claim = 0 // what was overwritten since must be told again
	}
	b.sources[old] = own
	if err := b.setFormat(next, new(uint64)); err != nil {
		return err
	}
	if err := j.finish(b); err != nil {
		return err
	}
	j.met.Store(false)
	j.noted, j.leapt = true, false
	j.log.Warn("this database goes on as a new source", zap.String("source", b.source), zap.String("old", old),
		zap.Uint64("moved", own.head-min(own.head, j.opened)))
	j.opened, j.renewing = 0, next
	return j.resume()
}

// note has the f key say over what this run leapt, and from where on its writes
// may have to be moved, until another node was met. It goes with the first of them.
func (b *batch) note() error {
	noted := !b.j.met.Load()
	if noted == b.j.noted && !b.j.leapt || b.source != b.j.Source() || b.sources[b.source].head == b.j.committed.head.Load() {
		return nil
	}
	b.j.noted, b.j.leapt = noted, false
	if !noted {
		return b.setFormat(b.j.renewing, nil)
	}
	return b.setFormat(b.j.renewing, &b.j.opened)
}

func (b *batch) setFormat(r *renewing, opened *uint64) error {
	f := format{Version: formatVersion, Source: b.source, Renewing: r, Opened: opened}
	if b.source == b.j.Source() {
		f.Leaps = b.j.committed.leaps
	}
	value, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return b.set(formatKey, value)
}

func (j *Journal) writable() error {
	if err := j.committed.failure; err != nil {
		return err
	}
	return j.room()
}

// resume does what is left of Renew.
func (j *Journal) resume() error {
	for j.renewing != nil {
		if err := j.writable(); err != nil {
			return err
		}
		if err := j.move(); err != nil {
			return err
		}
	}
	return nil
}

// move gives some versions of the old source to the new one, or notes that all
// were.
func (j *Journal) move() error {
	r := j.renewing
	forked, _, err := j.untold(r.Source, new(toldReader), revisionKey(r.Source, r.Above+1), ^uint64(0))
	if err != nil {
		return err
	}
	b := j.newBatch()
	defer b.discard()
	for _, v := range forked {
		if b.full() {
			break
		}
		if err := b.adopt(v); err != nil {
			return fmt.Errorf("%w: %w", record.ErrUnavailable, err)
		}
	}
	if len(forked) == 0 {
		if err := b.setFormat(nil, &j.opened); err != nil {
			return err
		}
	}
	if err := j.finish(b); err != nil {
		return err
	}
	if len(forked) == 0 {
		j.renewing = nil
	}
	return nil
}

// adopt makes a version this journal's own.
func (b *batch) adopt(v revised) error {
	r, err := parseRecordKey(v.key)
	if err != nil {
		return err
	}
	g, err := b.load(r.Topic, r.Key)
	if err != nil {
		return err
	}
	i, found := g.find(r.Member, r.Source)
	if !found || g.versions[i].Revision != v.revision {
		return errValue
	}
	r = g.versions[i]
	if err := b.drop(g, i); err != nil {
		return err
	}
	own := b.state(b.source)
	own.head = b.j.committed.leaps.next(own.head)
	own.last = max(own.last, r.Time)
	b.sources[b.source] = own
	r.Source, r.Revision = b.source, own.head
	in := makeIncoming(r)
	return b.put(g, &in)
}
