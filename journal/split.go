package journal

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"

	"github.com/ooseio/oose/record"
)

// split is the committer's part of Part: what a source wrote behind a leap goes
// to a source of its own. That there is one is committed first, so that a
// process which ends in the midst of it goes on with it at the next start.
// While records move, neither source is streamed: who reads one could miss what
// has left, or has not come yet.
func (j *Journal) split(ctx context.Context, f fork) error {
	own := f.source == j.Source()
	_, crossed := j.committed.sources[f.source].leaps.crossed(f.leap)
	switch _, known := j.committed.sources[f.source].leaps.to(f.leap.To); {
	case !known && !own && !f.told, !known && own && f.leap.From != j.committed.sources[f.source].head:
		return nil // it was split meanwhile, or written on
	case !known && crossed:
		return nil // another leap became known: that is split first
	}
	if err := j.writable(); err != nil {
		return err
	}
	b := j.newBatch()
	defer b.discard()
	old, name := b.state(f.source), branchName(f.source, f.leap.To)
	old.leaps = old.leaps.with(f.leap)
	branch := b.state(name)
	branch.leaps, branch.last = branch.leaps.with(old.leaps...), max(branch.last, old.last)
	b.sources[f.source], b.sources[name] = old, branch
	if own {
		branch.head = max(old.head, f.leap.To)
		b.sources[name], b.source = branch, name
		if err := b.setSource(); err != nil {
			return err
		}
	}
	j.parting(f.source, name)
	if err := j.finish(b); err != nil {
		return err
	}
	j.log.Warn("a database was restored from an old copy and written on: that goes on as a source of its own",
		zap.String("source", f.source), zap.String("branch", name), zap.Uint64("from", f.leap.From), zap.Bool("own", own))
	return j.moveAll(ctx, f)
}

// parting ends the streams of two sources, and what is read of them, until the
// records that move between them have moved.
func (j *Journal) parting(sources ...string) {
	j.committed.mu.Lock()
	defer j.committed.mu.Unlock()
	for _, source := range sources {
		j.branched[rootOf(source)] = true
		j.committed.parted[source]++
		j.committed.moving[source] = true
		delete(j.committed.complete, source)
		j.resumes.forgetAll(source)
		delete(j.settled, source)
		if p := j.fresh[source]; p != nil {
			p.fresh.Store(false)
			delete(j.fresh, source)
		}
		if f := j.committed.feeds[source]; f != nil {
			f.ended = true
			f.wake()
			delete(j.committed.feeds, source)
		}
	}
}

func rootOf(source string) string {
	root, _, _ := parseBranch(source)
	return root
}

// moveAll moves what is left to be moved. Where ctx ends first, the next start
// goes on with it.
func (j *Journal) moveAll(ctx context.Context, f fork) error {
	// What was moved left traces, which the next look need not pass again.
	start := revisionKey(f.source, f.leap.To+1)
	for start != nil {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := j.writable(); err != nil {
			return err
		}
		var err error
		if start, err = j.move(f, start); err != nil {
			return err
		}
	}
	j.committed.mu.Lock()
	defer j.committed.mu.Unlock()
	delete(j.committed.moving, f.source)
	delete(j.committed.moving, branchName(f.source, f.leap.To))
	return nil
}

// move gives some of a source's versions, from a key on, to its branch, and
// returns from where to go on; nil: it noted that all went.
func (j *Journal) move(f fork, start []byte) (next []byte, err error) {
	versions, _, err := j.untold(f.source, new(toldReader), start, ^uint64(0))
	if err != nil {
		return nil, err
	}
	b := j.newBatch()
	defer b.discard()
	name := branchName(f.source, f.leap.To)
	for _, v := range versions {
		if b.full() {
			break
		}
		if err := b.rename(v, name); err != nil {
			return nil, fmt.Errorf("%w: %w", record.ErrUnavailable, err)
		}
		next = revisionKey(f.source, v.revision+1)
	}
	if len(versions) == 0 {
		last, err := b.last(f.source)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", record.ErrUnavailable, err)
		}
		b.part(f, name, last)
	}
	return next, j.finish(b)
}

// rename gives a version to another source.
func (b *batch) rename(v revised, source string) error {
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
	r.Source = source
	in := makeIncoming(r)
	return b.keep(g, &in)
}

// last returns the newest revision of a source that is still here.
func (b *batch) last(source string) (uint64, error) {
	prefix := sourcePrefix(source)
	it := b.view.NewIterator(badger.IteratorOptions{Prefix: prefix, Reverse: true})
	defer it.Close()
	it.Seek(revisionKey(source, ^uint64(0)))
	if !it.Valid() {
		return 0, nil
	}
	key := it.Item().Key()
	if len(key) != len(prefix)+8 {
		return 0, errKey
	}
	return binary.BigEndian.Uint64(key[len(prefix):]), nil
}

// part divides what is known of a source between itself, of which the newest
// revision here is last, and its branch.
func (b *batch) part(f fork, name string, last uint64) {
	old, branch := b.state(f.source), b.state(name)
	for _, n := range [...]struct{ of, to *uint64 }{
		{&old.head, &branch.head}, {&old.claim, &branch.claim}, {&old.dropped, &branch.dropped},
	} {
		if *n.of > f.leap.To {
			*n.of, *n.to = f.leap.From, max(*n.to, *n.of)
		}
	}
	old.head = max(old.head, last)
	old.leaps = old.leaps.before(f.leap.To)
	b.sources[f.source], b.sources[name], b.dirty = old, branch, true
}

// setSource has the f key say under what name this journal writes.
func (b *batch) setSource() error {
	value, err := json.Marshal(format{Version: formatVersion, Source: b.source})
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

// unfinished returns a fork whose records have not all moved when the process
// ended.
func (j *Journal) unfinished() (fork, bool) {
	for source := range j.committed.sources {
		if root, to, is := parseBranch(source); is {
			if f, unsplit := j.committed.unsplit(root, to); unsplit {
				return f, true
			}
		}
	}
	return fork{}, false
}

// resume does what is left of a split.
func (j *Journal) resume(ctx context.Context) error {
	for {
		f, left := j.unfinished()
		if !left {
			return nil
		}
		j.parting(f.source, branchName(f.source, f.leap.To))
		if err := j.moveAll(ctx, f); err != nil {
			return fmt.Errorf("finishing the split of %s: %w", f.source, err)
		}
	}
}
