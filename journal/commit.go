package journal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/ooseio/oose/record"
)

// Bounds of one commit. An operation is one key set or deleted; Badger would
// take some 13,000 of them, and 1.2 MB, with its tables in memory as small as
// they are here.
const (
	maxChanges    = 1000
	maxBytes      = 1 << 20
	maxOperations = 8000
)

var (
	errStopped = fmt.Errorf("%w: the journal has stopped", record.ErrUnavailable)
	errRunning = errors.New("the journal runs already, or is closed")
)

// request is what waits for the committer: one of an own update, records of
// another source, or hints of what is due.
type request struct {
	topic   record.Topic
	key     string
	cond    record.Condition
	changes []record.Change

	followed []record.Record

	due []hint

	progress atomic.Uint32 // waiting, then taken or abandoned
	done     chan result   // takes one
}

const (
	waiting = iota
	taken
	abandoned
)

type result struct {
	ack     record.Ack
	handled int // hints that were dealt with
	dropped int // records that went
	err     error
}

// weight returns about what a request adds to a batch.
func (r *request) weight() (changes, bytes int) {
	for _, h := range r.due {
		bytes += 5*len(h.key) + entryBytes // in the worst of the usual cases it goes, with all that points to it
	}
	for _, c := range r.changes {
		bytes += len(c.Value) + 4*(len(r.key)+len(c.Member)) + entryBytes
	}
	for i := range r.followed {
		f := &r.followed[i]
		bytes += len(f.Value) + 4*(len(f.Key)+len(f.Member)+len(f.Source)) + entryBytes
	}
	return len(r.changes) + len(r.followed) + len(r.due), bytes
}

// entryBytes is about what the keys of one change take besides its names.
const entryBytes = 300

// committed is what the committer knows of its last commit.
type committed struct {
	head    atomic.Uint64
	mu      sync.Mutex
	sources map[string]state
	counts  map[record.Topic]int64
	failure error // a commit failed: nothing is written any more
}

// Update writes changes under one key; see record.Engine. Where ctx ends
// while the update waits it is not made; where it ends while the committer
// has it, it may still be made, and the error is ctx's all the same.
func (j *Journal) Update(ctx context.Context, topic record.Topic, key string, cond record.Condition, changes ...record.Change) (record.Ack, error) {
	if err := record.Check(topic, key, changes); err != nil {
		return record.Ack{}, err
	}
	res := j.submit(ctx, j.live, &request{topic: topic, key: key, cond: cond, changes: changes})
	return res.ack, res.err
}

// apply takes what other sources wrote, in the order of their revisions. A
// version that is not newer than the one at hand is left out. With live false
// it lets what is live go first.
func (j *Journal) apply(ctx context.Context, live bool, records []record.Record) error {
	queue := j.background
	if live {
		queue = j.live
	}
	for i := range records {
		if err := record.CheckRecord(records[i]); err != nil {
			return err
		}
		if records[i].Source == j.source {
			return fmt.Errorf("%w: another source's record bears this journal's name", record.ErrInvalid)
		}
	}
	for len(records) > 0 {
		req := &request{}
		for n, bytes := 0, 0; n < len(records) && n < maxChanges && bytes < maxBytes; n++ {
			req.followed = records[:n+1]
			_, more := (&request{followed: records[n : n+1]}).weight()
			bytes += more
		}
		if res := j.submit(ctx, queue, req); res.err != nil {
			return res.err
		}
		records = records[len(req.followed):]
	}
	return nil
}

func (j *Journal) submit(ctx context.Context, queue chan<- *request, req *request) result {
	if err := ctx.Err(); err != nil {
		return result{err: err}
	}
	req.done = make(chan result, 1)
	select {
	case queue <- req:
	case <-ctx.Done():
		return result{err: ctx.Err()}
	case <-j.running.stopped:
		return result{err: errStopped}
	}
	select {
	case res := <-req.done:
		return res
	case <-ctx.Done():
		req.progress.CompareAndSwap(waiting, abandoned)
		return result{err: ctx.Err()}
	case <-j.running.stopped:
		// What was answered before the end was answered for good.
		select {
		case res := <-req.done:
			return res
		default:
			return result{err: errStopped}
		}
	}
}

// Run commits updates, removes what is due, and gives the database's space
// back, until ctx ends; then whatever waits is answered with
// record.ErrUnavailable. It can run once.
func (j *Journal) Run(ctx context.Context) error {
	ctx, ok := j.running.begin(ctx)
	if !ok {
		return errRunning
	}
	defer close(j.running.stopped)
	defer j.running.cancel()

	kept := make(chan struct{})
	go func() {
		defer close(kept)
		j.upkeep(ctx)
	}()
	j.commitLoop(ctx)
	<-kept
	return nil
}

// commitLoop is the committer.
func (j *Journal) commitLoop(ctx context.Context) {
	var held *request // did not fit into the batch before
	for {
		batch, ok := j.gather(ctx, &held)
		if !ok {
			return
		}
		j.process(batch)
	}
}

// gather waits for a request and takes all that wait with it, live ones first,
// as many as fit.
func (j *Journal) gather(ctx context.Context, held **request) ([]*request, bool) {
	var batch []*request
	changes, bytes := 0, 0
	take := func(r *request) (full bool) {
		if r.progress.Load() == abandoned {
			return false
		}
		n, size := r.weight()
		if len(batch) > 0 && (changes+n > maxChanges || bytes+size > maxBytes) {
			*held = r
			return true
		}
		if r.progress.CompareAndSwap(waiting, taken) {
			batch, changes, bytes = append(batch, r), changes+n, bytes+size
		}
		return false
	}
	if ctx.Err() != nil {
		return nil, false
	}
	if r := *held; r != nil {
		*held = nil
		take(r)
	}
	for len(batch) == 0 {
		select {
		case r := <-j.live:
			take(r)
		case r := <-j.background:
			take(r)
		case <-ctx.Done():
			return nil, false
		}
	}
	for {
		select {
		case r := <-j.live:
			if take(r) {
				return batch, true
			}
			continue
		default:
		}
		select {
		case r := <-j.background:
			if take(r) {
				return batch, true
			}
			continue
		default:
		}
		return batch, true
	}
}

// process commits a batch and answers it.
func (j *Journal) process(requests []*request) {
	results := make([]result, len(requests))
	if err := j.commit(requests, results); err != nil {
		j.counters.refused.Add(uint64(len(requests)))
		for i := range results {
			results[i] = result{err: err}
		}
	}
	for i, r := range requests {
		r.done <- results[i]
	}
}

func (j *Journal) commit(requests []*request, results []result) error {
	if err := j.committed.failure; err != nil {
		return err
	}
	if err := j.room(); err != nil {
		return err
	}
	b := j.newBatch()
	defer b.discard()
	// What is due comes last: it takes what room is left, and nobody waits for it.
	for _, due := range [...]bool{false, true} {
		for i, r := range requests {
			if (r.due != nil) != due {
				continue
			}
			res, err := b.add(r)
			if err != nil {
				return fmt.Errorf("writing records: %w: %w", record.ErrUnavailable, err)
			}
			results[i] = res
		}
	}
	if !b.dirty {
		return nil
	}
	if err := b.commit(); err != nil {
		// Whether it was kept is unknown, and a sync that failed must not be
		// tried again: the pages may count as clean without having been written.
		return j.fail(fmt.Errorf("committing: %w", err))
	}
	j.publish(b)
	return nil
}

// publish makes a commit known: to those who ask, to the cache, to the watchers.
// The cache comes before the watchers, who keep caches that load through it.
func (j *Journal) publish(b *batch) {
	j.committed.mu.Lock()
	for source, s := range b.sources {
		j.committed.sources[source] = s
	}
	j.committed.counts = b.counts
	j.committed.mu.Unlock()
	j.committed.head.Store(b.sources[j.source].head)
	if b.lowest != 0 {
		j.pending.lower(b.lowest) // after the commit: a sweep before it could not see it
	}
	for id := range b.groups {
		if b.groups[id].changed {
			j.cache.Invalidate(cacheKey(id.topic, id.key))
		}
	}
	j.watchers.tell(b.written)
	j.counters.commits.Add(1)
}
