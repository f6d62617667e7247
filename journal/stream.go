package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/ooseio/oose/record"
)

// markEvery is how often a stream says that it is alive.
const markEvery = 10 * time.Second

// Stream writes to w what a source wrote behind since, then a complete mark,
// then what is committed, each commit with a mark, and at least a mark every
// ten seconds; flush, which may be nil, pushes out what was written. The
// package's comment describes the format.
//
// It returns when ctx ends, w fails, the journal closes or the source is
// split; a Write that waits is for the caller to end. Errors besides those of
// w: ErrUnknown, ErrAhead, ErrForked, ctx's, record.ErrUnavailable.
func (j *Journal) Stream(ctx context.Context, source string, since uint64, w io.Writer, flush func() error) error {
	if flush == nil {
		flush = func() error { return nil }
	}
	j.committed.mu.Lock()
	known, ok := j.committed.sources[source]
	j.committed.mu.Unlock()
	switch {
	case !ok:
		return fmt.Errorf("streaming %.40q: %w", source, ErrUnknown)
	case source == j.Source() && j.Ahead(since):
		return fmt.Errorf("streaming behind %d of %d: %w", since, known.head, ErrAhead)
	}
	if _, over := known.leapt(source, since); over {
		return fmt.Errorf("streaming %.40q behind %d: %w", source, since, ErrForked)
	}
	s := &stream{j: j, source: source, w: w, flush: flush, told: since, feed: j.subscribe(source)}
	defer j.leave(source, s.feed)
	j.counters.streams.Add(1)
	defer j.counters.streams.Add(-1)
	if _, err := w.Write(appendPreface(nil)); err != nil {
		return err
	}
	for {
		if err := s.walk(ctx); err != nil {
			return fmt.Errorf("streaming: %w", err)
		}
		if err := s.follow(ctx); err != nil {
			return fmt.Errorf("streaming: %w", err)
		}
	}
}

// stream is one that is being written.
type stream struct {
	j      *Journal
	source string
	w      io.Writer
	flush  func() error
	feed   *feed
	from   uint64 // number of the feed's next entry

	leaps leaps // that the reader was told

	told uint64 // the reader has everything up to here, or its own server has told it
	over uint64 // the last start-over dealt with tombstones dropped up to here
	out  []byte
}

// missed tells whether tombstones were dropped of which the reader does not
// know: it must start over before its claim may grow.
func (s *stream) missed(now status) bool { return now.dropped > max(s.told, s.over) }

// mark returns what the reader may claim. A server that does not know itself
// all that it dropped once can't help who has missed it.
func (s *stream) mark(now status) status {
	if s.missed(now) {
		now.claim, now.at = min(now.claim, s.told), 0
	}
	return now
}

// walk sends what is in the index, and a mark.
func (s *stream) walk(ctx context.Context) error {
	for {
		at := s.j.look(s.source, s.feed, ^uint64(0))
		if at.ended {
			return errSplit
		}
		s.from, s.leaps = at.end, at.leaps
		start := begin{source: s.source, since: s.told, head: at.head, claim: at.status.claim, dropped: at.status.dropped, leaps: at.leaps}
		if s.missed(at.status) && at.status.dropped <= at.status.claim {
			start.over, start.since = true, 0
		}
		if err := s.send(start.appendTo(s.out[:0])); err != nil {
			return err
		}
		if err := s.index(ctx, start.since); err != nil {
			return err
		}
		// What was dropped meanwhile may not have been told.
		meanwhile := s.j.look(s.source, s.feed, s.from)
		if meanwhile.ended {
			return errSplit // records may have left before they were read
		}
		now := meanwhile.status
		mark := status{start.claim, now.dropped, at.status.at}
		switch {
		case start.over && now.dropped <= start.claim:
			s.over = now.dropped
		case start.over, !start.over && s.missed(now) && now.dropped <= now.claim:
			continue
		}
		return s.marked(s.mark(mark))
	}
}

// index sends the latest version of each record behind a revision.
func (s *stream) index(ctx context.Context, since uint64) error {
	for start := revisionKey(s.source, since+1); start != nil; {
		if err := ctx.Err(); err != nil {
			return err
		}
		f := frame{kind: recordsFrame, body: s.out[:0]}
		next, err := s.j.fill(&f, s.source, start)
		if err != nil {
			return err
		}
		if f.records > 0 {
			s.out = f.body // its room is used again
			if err := s.sendFrame(&f); err != nil {
				return err
			}
		}
		start = next
	}
	return nil
}

// follow sends what is committed, until the reader lags too far or must start over.
func (s *stream) follow(ctx context.Context) error {
	idle := time.NewTimer(markEvery)
	defer idle.Stop()
	for {
		l := s.j.look(s.source, s.feed, s.from)
		switch {
		case l.ended:
			return errSplit
		case l.lagged, l.leaps.last() != s.leaps.last(), s.missed(l.status) && l.status.dropped <= l.status.claim:
			return nil
		}
		for _, e := range l.entries {
			if err := s.send(e.frames); err != nil {
				return err
			}
		}
		if len(l.entries) > 0 {
			s.from = l.end
			if err := s.marked(s.mark(l.entries[len(l.entries)-1].status)); err != nil {
				return err
			}
			idle.Reset(markEvery)
			continue
		}
		select {
		case <-l.more:
		case <-idle.C:
			// Taken anew: the time in it is what the reader wants to know.
			now := s.j.look(s.source, s.feed, s.from)
			if len(now.entries) == 0 && !now.lagged {
				if err := s.marked(s.mark(now.status)); err != nil {
					return err
				}
			}
			idle.Reset(markEvery)
		case <-ctx.Done():
			return ctx.Err()
		case <-s.j.running.stopped:
			return errStopped
		}
	}
}

var errSplit = fmt.Errorf("%w: the source is split", record.ErrUnavailable)

// marked sends a mark, and all that was written before.
func (s *stream) marked(m status) error {
	if err := s.send(m.appendTo(s.out[:0])); err != nil {
		return err
	}
	s.told = max(s.told, m.claim)
	return s.flush()
}

func (s *stream) send(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	_, err := s.w.Write(b)
	return err
}

// sendFrame sends a frame without copying it.
func (s *stream) sendFrame(f *frame) error {
	var head [5]byte
	if err := s.send(f.appendHead(head[:0])); err != nil {
		return err
	}
	return s.send(binary.BigEndian.AppendUint32(f.body, f.checksum()))
}

// fill adds versions of a source to a frame, in the order of their revisions
// from a revision key on, until it is full; it returns where the next begins,
// nil at the end.
func (j *Journal) fill(f *frame, source string, start []byte) (next []byte, err error) {
	ending := append([]byte{0}, source...)
	err = j.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: sourcePrefix(source)})
		defer it.Close()
		var key []byte
		for it.Seek(start); it.Valid(); it.Next() {
			if f.full() {
				next = it.Item().KeyCopy(nil)
				return nil
			}
			var err error
			if key, err = it.Item().ValueCopy(key); err != nil {
				return err
			}
			item, err := txn.Get(key)
			if errors.Is(err, badger.ErrKeyNotFound) || err == nil && (len(key) <= len(ending) || !bytes.HasSuffix(key, ending)) {
				return fmt.Errorf("%w: a revision without its record", errValue)
			}
			if err != nil {
				return err
			}
			err = item.Value(func(stored []byte) error {
				f.addRecord(key, source, stored)
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return next, err
}
