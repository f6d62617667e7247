package journal

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"

	"github.com/ooseio/oose/record"
)

// sweepHints is how many hints are handed to the committer at once.
const sweepHints = 500

// hints remembers from where on hints may be due: before it are only the
// traces of those that were removed, and there may be many.
type hints struct {
	mu   sync.Mutex
	from int64
}

// lower says that a hint was filed.
func (h *hints) lower(due int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.from = min(h.from, due)
}

// begin returns where a sweep begins; end says up to where it came.
func (h *hints) begin() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	from := h.from
	h.from = math.MaxInt64
	return from
}

func (h *hints) end(from int64) { h.lower(from) }

// Sweep removes what is due now: expired purchases and sessions with all their
// versions, old tombstones. It returns how many records went. Run does it
// every minute.
func (j *Journal) Sweep(ctx context.Context) (int, error) {
	now := j.clock.Wall().UnixMilli()
	from := j.pending.begin()
	if from > now {
		j.pending.end(from)
		return 0, nil
	}
	dropped := 0
	start := duePrefix(from)
	for {
		due, err := j.due(start, now)
		if err == nil && len(due) == 0 {
			j.pending.end(now)
			return dropped, nil
		}
		var res result
		if err == nil {
			res = j.submit(ctx, j.background, &request{due: due})
			err = res.err
		}
		if err == nil && res.handled == 0 {
			err = errors.New("nothing of what is due fits into a batch")
		}
		if err != nil {
			j.pending.end(from)
			return dropped, fmt.Errorf("removing what expired: %w", err)
		}
		dropped += res.dropped
		start = append(due[res.handled-1].encode(), 0)
	}
}

// due returns some of the hints from start on that are due at now.
func (j *Journal) due(start []byte, now int64) ([]hint, error) {
	var due []hint
	err := j.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{dueKind}})
		defer it.Close()
		for it.Seek(start); it.Valid() && len(due) < sweepHints; it.Next() {
			h, err := parseHint(it.Item().KeyCopy(nil))
			if err != nil {
				return err
			}
			if h.due > now {
				return nil
			}
			due = append(due, h)
		}
		return nil
	})
	return due, err
}

// sweep judges hints by the records as they are now. What did not fit into
// the batch is left for the next.
func (b *batch) sweep(due []hint) (result, error) {
	var res result
	now := b.j.clock.Wall().UnixMilli()
	for _, h := range due {
		if b.full() {
			break
		}
		res.handled++
		id, err := parseRecordKey(h.key)
		var g *group
		if err == nil {
			g, err = b.load(id.Topic, id.Key)
		}
		if err != nil {
			b.j.log.Error("what is due can't be read, it stays", zap.Error(err))
			continue
		}
		before := len(g.versions)
		if err := b.delete(h.encode()); err != nil {
			return res, err
		}
		if record.Expiring(id.Topic) {
			err = b.expire(g, h, now)
		} else {
			err = b.bury(g, &id, now)
		}
		if err != nil {
			return res, err
		}
		res.dropped += before - len(g.versions)
	}
	b.j.counters.expired.Add(uint64(res.dropped))
	return res, nil
}

// expire removes all versions under a key if the last of them is over, and
// otherwise looks again when it will be.
func (b *batch) expire(g *group, h hint, now int64) error {
	until := record.KeepUntil(g.versions)
	if until == 0 {
		return nil // kept for good, or gone
	}
	if until > now {
		return b.file(hint{until, h.key})
	}
	for len(g.versions) > 0 {
		if err := b.drop(g, len(g.versions)-1); err != nil {
			return err
		}
	}
	return nil
}

// bury removes a tombstone, and remembers that what its source wrote up to it
// can't be told any more to one who knows less.
func (b *batch) bury(g *group, id *record.Record, now int64) error {
	i, found := g.find(id.Member, id.Source)
	if !found || !g.versions[i].Deleted {
		return nil
	}
	r := g.versions[i]
	same := g.member(r.Member)
	at := 0
	for same[at].Source != r.Source {
		at++
	}
	if b.state(r.Source).catching(r.Revision) || !record.Droppable(r.Topic, same, at, now) {
		again := max(record.TombstoneUntil(r), now+record.KeepTombstone.Milliseconds())
		return b.file(hint{again, recordKey(&r)})
	}
	b.dropped(r.Source, r.Revision)
	return b.drop(g, i)
}

// catching tells whether a version must stay because its source is not known
// up to there: above the claim an older one may still come from who lags, and
// nothing would be here to tell that it is older.
func (s state) catching(revision uint64) bool { return s.claim != 0 && revision > s.claim }

// dropped remembers that who knows less of a source than this revision has to
// start over: what hid, or replaced, an older version is not here any more.
func (b *batch) dropped(source string, revision uint64) {
	s := b.state(source)
	s.dropped = max(s.dropped, revision)
	b.sources[source] = s
}
