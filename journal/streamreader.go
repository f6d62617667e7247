package journal

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"time"
)

// event is what was read of a stream: one of these.
type event struct {
	begin   *begin
	records []incoming
	mark    *status
	err     error // the last one
}

// streamReader reads and checks a stream while what came before is committed.
type streamReader struct {
	source string
	frames frameReader
	behind uint64 // in a walk, the last revision
	begun  bool
	live   bool // no walk is under way
}

const readAhead = 64 << 10

func newStreamReader(source string, r io.Reader, silent func()) *streamReader {
	watched := &watchedReader{r: r, silent: silent}
	return &streamReader{source: source, frames: frameReader{r: bufio.NewReaderSize(watched, readAhead)}}
}

// run hands over what it reads until it fails or ctx ends.
func (s *streamReader) run(ctx context.Context, events chan<- event) {
	err := s.frames.preface()
	for {
		var e event
		if err == nil {
			e, err = s.next()
		}
		if err != nil {
			e = event{err: err}
		}
		select {
		case events <- e:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

func (s *streamReader) next() (event, error) {
	kind, body, err := s.frames.next()
	if err != nil {
		return event{}, err
	}
	switch {
	case kind == beginFrame:
		w, err := decodeBegin(body)
		s.begun, s.live, s.behind = true, false, w.since
		return event{begin: &w}, err
	case !s.begun:
		return event{}, fmt.Errorf("%w: its first frame is of kind %q", ErrStream, kind)
	case kind == recordsFrame:
		if s.live {
			s.behind = 0 // what is committed at a relay comes in any order
		}
		items, err := decodeRecords(body, s.source, s.behind)
		if err == nil && len(items) > 0 {
			s.behind = items[len(items)-1].Revision
		}
		return event{records: items}, err
	case kind == markFrame:
		m, err := decodeMark(body)
		s.live = true
		return event{mark: &m}, err
	}
	return event{}, fmt.Errorf("%w: a frame of kind %q", ErrStream, kind)
}

// watchedReader says when a Read waits too long for anything at all.
type watchedReader struct {
	r      io.Reader
	silent func()
}

func (w *watchedReader) Read(p []byte) (int, error) {
	timer := time.AfterFunc(silence, w.silent)
	defer timer.Stop()
	return w.r.Read(p)
}
