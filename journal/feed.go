package journal

import (
	"slices"
)

// feedBytes bounds what a feed keeps for streams that come after.
const feedBytes = 4 << 20

// feed is what was committed of one source that is streamed, encoded once, for
// all its streams. It is guarded by committed's lock.
type feed struct {
	streams int
	entries []entry
	first   uint64 // number of the first entry
	bytes   int
	claim   uint64
	more    chan struct{} // closed when there is more
	ended   bool          // the source was split
}

// entry is one commit.
type entry struct {
	frames []byte // with its versions of the source
	status status // after it
}

// status is what a mark says.
type status struct {
	claim, dropped uint64
	at             int64 // by the source's clock, in milliseconds: what it wrote before is in the claim; 0: unknown
}

// feed gives a commit to those who stream its sources.
func (c *committed) feed(b *batch) {
	if len(c.feeds) == 0 {
		return
	}
	bySource := make(map[string][]*written)
	for i := range b.written {
		w := &b.written[i]
		if w.stored != nil && c.feeds[w.Source] != nil {
			bySource[w.Source] = append(bySource[w.Source], w)
		}
	}
	for source, f := range c.feeds {
		records, s := bySource[source], c.sources[source]
		if len(records) == 0 && s.claim == f.claim {
			continue
		}
		f.claim = s.claim
		at := c.complete[source]
		if source == b.source {
			at = b.j.clock.Wall().UnixMilli()
		}
		f.add(entry{frames: encodeWritten(records), status: status{s.claim, s.dropped, at}})
	}
}

// encodeWritten gives the frames of one source's versions.
func encodeWritten(records []*written) []byte {
	slices.SortFunc(records, func(x, y *written) int {
		if x.Revision < y.Revision {
			return -1
		}
		return 1
	})
	var frames []byte
	f := frame{kind: recordsFrame}
	for _, w := range records {
		if f.full() {
			frames, f = f.appendTo(frames), frame{kind: recordsFrame}
		}
		f.addRecord(recordKey(&w.Record), w.Source, w.stored)
	}
	if f.records > 0 {
		frames = f.appendTo(frames)
	}
	return frames
}

func (f *feed) add(e entry) {
	f.entries = append(f.entries, e)
	f.bytes += len(e.frames)
	drop := 0
	for f.bytes > feedBytes && drop < len(f.entries)-1 {
		f.bytes -= len(f.entries[drop].frames)
		drop++
	}
	if drop > 0 {
		clear(f.entries[:drop])
		f.entries = f.entries[drop:]
		f.first += uint64(drop)
	}
	f.wake()
}

func (f *feed) wake() {
	close(f.more)
	f.more = make(chan struct{})
}

func (f *feed) end() uint64 { return f.first + uint64(len(f.entries)) }

// subscribe returns the feed of a source, and makes it if this is the first
// stream. leave must be called once.
func (j *Journal) subscribe(source string) *feed {
	j.committed.mu.Lock()
	defer j.committed.mu.Unlock()
	f := j.committed.feeds[source]
	if f == nil {
		f = &feed{more: make(chan struct{}), claim: j.committed.sources[source].claim}
		j.committed.feeds[source] = f
	}
	f.streams++
	return f
}

func (j *Journal) leave(source string, f *feed) {
	j.committed.mu.Lock()
	defer j.committed.mu.Unlock()
	f.streams--
	if f.streams == 0 && j.committed.feeds[source] == f {
		delete(j.committed.feeds, source)
	}
}

// look is what a stream sees of its feed at one moment.
type look struct {
	entries []entry // from the asked number on
	lagged  bool    // they are no longer there
	status  status
	head    uint64
	end     uint64
	leaps   leaps
	more    <-chan struct{}
	ended   bool
}

// look returns what came to a feed from an entry on.
func (j *Journal) look(source string, f *feed, from uint64) look {
	now := j.clock.Wall().UnixMilli() // before the claim is read
	j.committed.mu.Lock()
	defer j.committed.mu.Unlock()
	s := j.committed.sources[source]
	l := look{
		status: status{s.claim, s.dropped, j.committed.complete[source]}, head: s.head,
		leaps: s.leaps, end: f.end(), more: f.more, ended: f.ended || j.committed.moving[source], lagged: from < f.first,
	}
	if source == j.Source() {
		l.status.at = now
		if busy := j.committed.busy.Load(); busy != 0 {
			l.status.at = min(now, busy) // that batch's times may be earlier
		}
	}
	if !l.lagged && from < l.end {
		l.entries = slices.Clone(f.entries[from-f.first:])
	}
	return l
}
