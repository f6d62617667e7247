package journal

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"go.uber.org/zap"

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

// request is what waits for the committer: one of an own update, what others
// wrote and what is known with it, hints of what is due, what is no longer
// alive, or a source to be split.
type request struct {
	topic   record.Topic
	key     string
	cond    record.Condition
	changes []record.Change

	incoming []incoming
	from     *origin // of the stream that brings it, nil for an import
	pass     *pass   // through all that a source wrote, while catching up; else nil
	mark     *mark

	due    []hint
	gone   []revised
	former bool  // what is gone was of former owners, see Drop
	fork   *fork // goes alone

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
	handled int // of what is due or gone, what was dealt with
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
	for _, v := range r.gone {
		bytes += 5*len(v.key) + entryBytes
	}
	for i := range r.incoming {
		bytes += r.incoming[i].weight()
	}
	return len(r.changes) + len(r.incoming) + len(r.due) + len(r.gone), bytes
}

func (in *incoming) weight() int { return len(in.Value) + 4*len(in.key) + entryBytes }

// yields tells whether a request takes what room others leave.
func (r *request) yields() bool { return r.due != nil || r.gone != nil }

// entryBytes is about what the keys of one change take besides its names.
const entryBytes = 300

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
	if err := j.resume(ctx); err != nil && ctx.Err() == nil {
		j.log.Error("a source could not be split", zap.Error(err))
	}
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
		if f := batch[0].fork; f != nil {
			batch[0].done <- result{err: j.split(ctx, *f)}
			continue
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
		if len(batch) > 0 && (changes+n > maxChanges || bytes+size > maxBytes || r.fork != nil || batch[0].fork != nil) {
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
	if err := j.writable(); err != nil {
		return err
	}
	j.committed.busy.Store(j.clock.Wall().UnixMilli())
	defer j.committed.busy.Store(0)
	b := j.newBatch()
	defer b.discard()
	// What is due comes last: it takes what room is left, and nobody waits for it.
	for _, last := range [...]bool{false, true} {
		for i, r := range requests {
			if r.yields() != last {
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
	return j.finish(b)
}

// finish commits a batch and makes it known.
func (j *Journal) finish(b *batch) error {
	j.committed.drops(b)
	if err := b.commit(); err != nil {
		// Whether it was kept is unknown, and a sync that failed must not be
		// tried again: the pages may count as clean without having been written.
		return j.fail(fmt.Errorf("committing: %w", err))
	}
	j.publish(b)
	return nil
}
