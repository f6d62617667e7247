package journal

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/ooseio/oose/record"
)

// A source is forked where a database was restored from an old copy, wrote, and
// was followed, before it met who knows what it had written after that copy:
// there are two continuations, of which neither knows the other. The one behind
// the leap, which says where it began, gets a source of its own then, a branch:
// the first source's name, a dot, and the revision to which it leapt. Its
// records keep their revisions, so that all nodes that have some of them do the
// same, each by itself, and whatever order they meet in, they agree.
//
// What a branch wrote replaces what its own past wrote, but nothing of the
// other continuation: those are versions of two sources.

const branchBase = 36

// branchName names the branch of a source that began with a leap.
func branchName(source string, to uint64) string {
	root, _, _ := parseBranch(source)
	return root + "." + strconv.FormatUint(to, branchBase)
}

// parseBranch tells the first source of a branch and where it began; any other
// source is its own first one.
func parseBranch(source string) (root string, to uint64, is bool) {
	root, text, is := strings.Cut(source, ".")
	if !is {
		return source, 0, false
	}
	to, err := strconv.ParseUint(text, branchBase, 64)
	if err != nil || to == 0 || text != strconv.FormatUint(to, branchBase) {
		return source, 0, false
	}
	return root, to, true
}

// fork is a source that has to be split.
type fork struct {
	source string
	leap   leap // what is behind it gets a source of its own
	told   bool // by a server of the branch: it need not be known here
}

// Part takes what another node knows. Where that says that a source is forked,
// what is here of the branch gets a source of its own; if this journal writes
// it, it goes on as that, and Source tells another name from now on. It is for
// all that is heard of others' sources before anything of them is followed or
// acknowledged: catalogues, and claims by themselves. Its errors:
// record.ErrUnavailable, ctx's.
func (j *Journal) Part(ctx context.Context, known []SourceState) error {
	for i := range known {
		for {
			f, forked := j.forked(&known[i])
			if !forked {
				break
			}
			if err := j.submit(ctx, j.live, &request{fork: &f}).err; err != nil {
				return fmt.Errorf("splitting a source that was written on from an old copy: %w", err)
			}
		}
	}
	return nil
}

// forked tells whether what another node knows of a source shows a fork.
func (j *Journal) forked(known *SourceState) (fork, bool) {
	j.committed.mu.Lock()
	defer j.committed.mu.Unlock()
	c := &j.committed
	if s, ok := c.sources[known.Source]; ok {
		for _, revision := range [...]uint64{known.Claim, known.Head} {
			if l, in := s.leapt(known.Source, revision); in {
				return fork{source: known.Source, leap: l}, true
			}
			if known.Source != j.Source() || revision <= s.head {
				continue
			}
			if c.pending.has(revision) {
				return fork{source: known.Source, leap: c.pending}, true
			}
			return fork{source: known.Source, leap: leapFrom(s.head)}, true // it never leapt, or not so far
		}
	}
	if root, to, is := parseBranch(known.Source); is {
		return c.unsplit(root, to)
	}
	return fork{}, false
}

// unsplit returns the source under which a branch is still kept here.
func (c *committed) unsplit(root string, to uint64) (fork, bool) {
	for source, s := range c.sources {
		if first, began, _ := parseBranch(source); first != root || began >= to {
			continue
		}
		if l, leapt := s.leaps.to(to); leapt {
			return fork{source: source, leap: l}, true
		}
	}
	return fork{}, false
}

// origin is what a stream says of the source that it brings.
type origin struct {
	source string
	leaps  leaps
	parts  int // how often the source had been split here when the stream began
}

// meet checks whether what is here of a source, and what a server says of it,
// are of one continuation. Where they are not, it returns ErrForked, and which
// source has to be split here, if it is not the server's to do so.
func (j *Journal) meet(w *begin) (o *origin, f *fork, err error) {
	j.committed.mu.Lock()
	defer j.committed.mu.Unlock()
	c := &j.committed
	s := c.sources[w.source]
	_, began, _ := parseBranch(w.source)
	for _, l := range w.leaps {
		if l.To <= began {
			continue // of its past
		}
		if _, split := c.sources[branchName(w.source, l.To)]; split {
			return nil, nil, ErrForked
		}
		if k, crossed := s.leaps.crossed(l); crossed && k.To > began {
			return nil, &fork{source: w.source, leap: k}, ErrForked
		}
		if l.has(s.head) || l.has(s.claim) {
			return nil, &fork{source: w.source, leap: l, told: true}, ErrForked
		}
	}
	for _, revision := range [...]uint64{w.claim, w.head} {
		if l, in := s.leapt(w.source, revision); in {
			return nil, &fork{source: w.source, leap: l}, ErrForked
		}
	}
	if c.moving[w.source] {
		return nil, nil, ErrForked
	}
	return &origin{source: w.source, leaps: w.leaps, parts: c.parted[w.source]}, nil, nil
}

// withheld returns the fork that records show which are here though a server's
// source left their revisions out: single ones may have been imported.
func (j *Journal) withheld(o *origin) (*fork, error) {
	_, began, _ := parseBranch(o.source)
	for _, l := range o.leaps {
		if l.To <= began {
			continue
		}
		some, _, err := j.untold(o.source, new(toldReader), revisionKey(o.source, l.From+1), l.To)
		if err != nil {
			return nil, err
		}
		if len(some) > 0 {
			return &fork{source: o.source, leap: l, told: true}, nil
		}
	}
	return nil, nil
}

// Past tells whether a version that another source wrote is of this journal's
// own past: what it writes under the same key and member takes its place.
func (j *Journal) Past(r record.Record) bool {
	j.committed.mu.Lock()
	defer j.committed.mu.Unlock()
	own := j.Source()
	root, began, _ := parseBranch(own)
	return r.Source != own && rootOf(r.Source) == root && r.Revision < began && !j.committed.sources[own].leaps.within(r.Revision)
}

// supersede drops what a version replaces of its own branch's past, and tells
// whether another one replaces it.
func (b *batch) supersede(g *group, in *incoming) (replaced bool, err error) {
	root, _, _ := parseBranch(in.Source)
	if !b.j.branched[root] {
		return false, nil
	}
	for i := len(g.versions) - 1; i >= 0; i-- {
		v := &g.versions[i]
		if first, _, _ := parseBranch(v.Source); first != root || v.Source == in.Source || v.Member != in.Member {
			continue
		}
		switch {
		case v.Revision > in.Revision && b.descends(v.Source, v.Revision, in.Revision):
			replaced = true
		case v.Revision < in.Revision && b.descends(in.Source, in.Revision, v.Revision):
			if err := b.drop(g, i); err != nil {
				return replaced, err
			}
		}
	}
	return replaced, nil
}

// descends tells whether an older revision is of the past of one that a source
// wrote, as far as all leaps before that are known.
func (b *batch) descends(source string, revision, older uint64) bool {
	l := b.state(source).leaps
	return l.behind(0, revision) < minLeap && !l.within(older)
}
