package journal

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// SourceState is what this journal knows of a source.
type SourceState struct {
	Source  string `json:"source"`
	Head    uint64 `json:"head"`    // the newest revision seen
	Claim   uint64 `json:"claim"`   // everything up to here that is still alive is here
	Dropped uint64 `json:"dropped"` // the newest revision whose tombstone is no longer here
	Own     bool   `json:"own"`     // this journal writes it
}

// Catalogue returns what is known of each source, in the order of their names.
func (j *Journal) Catalogue() []SourceState {
	j.committed.mu.Lock()
	defer j.committed.mu.Unlock()
	own := j.Source()
	list := make([]SourceState, 0, len(j.committed.sources))
	for _, source := range slices.Sorted(maps.Keys(j.committed.sources)) {
		s := j.committed.sources[source]
		list = append(list, SourceState{Source: source, Head: s.head, Claim: s.claim, Dropped: s.dropped, Own: source == own})
	}
	return list
}

// Claims returns up to where each source is completely known here.
func (j *Journal) Claims() map[string]uint64 {
	j.committed.mu.Lock()
	defer j.committed.mu.Unlock()
	claims := make(map[string]uint64, len(j.committed.sources))
	for source, s := range j.committed.sources {
		claims[source] = s.claim
	}
	return claims
}

// state returns what is known of a source.
func (j *Journal) state(source string) state {
	j.committed.mu.Lock()
	defer j.committed.mu.Unlock()
	return j.committed.sources[source]
}

// Since returns from where to ask a server for a source: the claim, or where
// this server was left in the midst of telling what is behind it.
func (j *Journal) Since(source, server string) uint64 {
	return max(j.state(source).claim, j.resumes.get(source, server))
}

// Complete returns the time, by the source's own clock, before which
// everything that it wrote is known here; false where no complete mark was
// heard since the start.
func (j *Journal) Complete(source string) (at time.Time, ok bool) {
	f := &feed{}
	milli := j.look(source, f, 0).status.at
	return time.UnixMilli(milli), milli != 0
}

// completed notes a mark's time.
func (j *Journal) completed(source string, at int64) {
	j.committed.mu.Lock()
	defer j.committed.mu.Unlock()
	j.committed.completed(source, at)
}

func (c *committed) completed(source string, at int64) {
	if at > c.complete[source] {
		c.complete[source] = at
	}
}

// resumes remembers how far servers were read before their mark: that says
// nothing to others, but the same server need not tell it again.
type resumes struct {
	mu sync.Mutex
	at map[resumption]uint64
}

type resumption struct{ source, server string }

// maxResumes bounds what is remembered; what is forgotten is told again.
const maxResumes = 1000

func (r *resumes) get(source, server string) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at[resumption{source, server}]
}

func (r *resumes) set(source, server string, revision uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at == nil || len(r.at) >= maxResumes {
		r.at = make(map[resumption]uint64)
	}
	r.at[resumption{source, server}] = revision
}

func (r *resumes) forget(source, server string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.at, resumption{source, server})
}

func (r *resumes) forgetAll(source string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.at, func(of resumption, _ uint64) bool { return of.source == source })
}
