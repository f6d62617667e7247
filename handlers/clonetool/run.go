package clonetool

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers/repair"
)

// Step is one thing that was done about a content, or with Pretend would be.
type Step struct {
	Did   Did    `json:"did"`
	Store string `json:"store,omitempty"` // id
	Error string `json:"error,omitempty"`
}

// Did names what was done.
type Did string

// What is done about a content.
const (
	Copied   Did = "copied"   // to a store
	Dropped  Did = "dropped"  // from a store
	Verified Did = "verified" // a clone, read and found sound
	Damaged  Did = "damaged"  // a clone, read and not what its hash says
	Skipped  Did = "skipped"  // a clone that was verified lately
	Wanted   Did = "wanted"   // it is written down how many clones there are to be
	Kept     Did = "kept"     // a clone that is needed, or protected, and was to be dropped
	Failed   Did = "failed"   // what was to be done was not
)

// Outcome is what has become of one content.
type Outcome struct {
	Hash  content.Hash
	Count int   // clones that count, before
	Want  int   // clones that there are to be, after
	Size  int64 // bytes
	Steps []Step

	Content repair.Content // before
}

// Summary adds up what was done.
type Summary struct {
	Contents int64         `json:"contents"` // that were meant
	Bytes    int64         `json:"bytes"`    // of one clone of each
	ByCount  map[int]int64 `json:"byCount"`  // contents by how many clones count, before

	Copied   int64 `json:"copied"`
	Moved    int64 `json:"moved"` // bytes copied
	Dropped  int64 `json:"dropped"`
	Verified int64 `json:"verified"`
	Read     int64 `json:"read"` // bytes verified
	Skipped  int64 `json:"skipped"`
	Damaged  int64 `json:"damaged"`
	Kept     int64 `json:"kept"`
	Failed   int64 `json:"failed"`
	Blocked  int64 `json:"blocked"`           // contents that are blocked, of which none is copied
	Pretend  bool  `json:"pretend,omitempty"` // nothing of it was done
}

// Progress is how far a run is.
type Progress struct {
	Counting bool  `json:"counting,omitempty"` // how many contents are meant is being found out
	Done     int64 `json:"done"`               // contents
	Total    int64 `json:"total"`              // contents
	Copied   int64 `json:"copied"`             // clones
	Dropped  int64 `json:"dropped"`            // clones
	Verified int64 `json:"verified"`           // clones
	Failed   int64 `json:"failed"`
	Moved    int64 `json:"moved"` // bytes copied or read, with those under way
}

// Report hears of a run while it goes on. Its functions may be nil, and are
// called by one goroutine at a time.
type Report struct {
	Progress func(Progress)
	Outcome  func(Outcome)
}

// run is one run of the tool.
type run struct {
	*Tool
	act    *Action
	report Report

	mu    sync.Mutex
	sum   Summary
	total int64
	done  int64
	going map[content.Hash]int64 // bytes of copies under way
}

// Run does what is asked for about every content that is meant, and returns
// what that has come to, also with an error. Where nothing is to be done, it
// reports how each content stands. Errors: ErrRequest, and those of records.
func (t *Tool) Run(ctx context.Context, s *Selection, act *Action, report Report) (Summary, error) {
	r := &run{Tool: t, act: act, report: report, going: map[content.Hash]int64{}}
	r.sum = Summary{ByCount: map[int]int64{}, Pretend: act.Pretend}
	if err := act.check(); err != nil {
		return r.sum, err
	}
	if err := r.count(ctx, s); err != nil {
		return r.sum, err
	}
	tasks, working := errgroup.WithContext(ctx)
	tasks.SetLimit(max(t.Parallel, 1))
	err := t.each(working, s, func(h content.Hash, c repair.Content) error {
		tasks.Go(func() error { return r.one(working, h, c) })
		return nil
	})
	err = errors.Join(tasks.Wait(), err)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sum, err
}

// count finds out how many contents are meant, for the progress; only where
// something is to be done, which takes long.
func (r *run) count(ctx context.Context, s *Selection) error {
	if !r.act.Acts() || r.act.Pretend {
		return nil
	}
	last := time.Now()
	return r.each(ctx, s, func(content.Hash, repair.Content) error {
		r.total++
		if r.report.Progress != nil && time.Since(last) > time.Second {
			last = time.Now()
			r.report.Progress(Progress{Counting: true, Total: r.total})
		}
		return nil
	})
}

// one does what is to be done about one content. What fails is in its outcome;
// an error ends the run.
func (r *run) one(ctx context.Context, h content.Hash, c repair.Content) error {
	o := Outcome{Hash: h, Count: c.Count(), Want: c.Wanted, Content: c}
	for _, clone := range c.Clones {
		o.Size = max(o.Size, clone.Size)
	}
	w := &worker{run: r, h: h, o: &o, now: c}
	w.work(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil && len(o.Steps) == 0 {
		return ctx.Err()
	}
	delete(r.going, h)
	r.done++
	r.add(&o)
	if r.report.Outcome != nil {
		r.report.Outcome(o)
	}
	r.tell()
	return ctx.Err()
}

// add adds an outcome up. r.mu is held.
func (r *run) add(o *Outcome) {
	s := &r.sum
	s.Contents++
	s.Bytes += o.Size
	s.ByCount[o.Count]++
	if o.Content.Blocked {
		s.Blocked++
	}
	for _, step := range o.Steps {
		switch step.Did {
		case Copied:
			s.Copied++
			s.Moved += o.Size
		case Dropped:
			s.Dropped++
		case Verified:
			s.Verified++
			s.Read += o.Size
		case Damaged:
			s.Damaged++
			s.Read += o.Size
		case Skipped:
			s.Skipped++
		case Kept:
			s.Kept++
		case Failed:
			s.Failed++
		}
	}
}

// moving notes how far a copy is.
func (r *run) moving(h content.Hash, done int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.going[h] = done
	r.tell()
}

// tell tells the progress. r.mu is held.
func (r *run) tell() {
	if r.report.Progress == nil {
		return
	}
	p := Progress{
		Done: r.done, Total: max(r.total, r.done), Copied: r.sum.Copied, Dropped: r.sum.Dropped, Verified: r.sum.Verified,
		Failed: r.sum.Failed + r.sum.Damaged, Moved: r.sum.Moved + r.sum.Read,
	}
	for _, done := range r.going {
		p.Moved += done
	}
	r.report.Progress(p)
}
