package journal

import (
	"math"

	"github.com/ooseio/oose/record"
)

// Stats is what an operator may want to know of a journal.
type Stats struct {
	Source  string                 `json:"source"`
	Head    uint64                 `json:"head"`    // the last revision that this source gave
	Sources int                    `json:"sources"` // of which it has records, its own included
	Records map[record.Topic]int64 `json:"records"` // versions that are not tombstones

	Updates   uint64 `json:"updates"`   // since the start, as are the next ones
	Commits   uint64 `json:"commits"`   // each took all updates that waited
	Conflicts uint64 `json:"conflicts"` // updates whose condition did not hold
	Refused   uint64 `json:"refused"`   // updates that could not be written
	Expired   uint64 `json:"expired"`   // records that went because they were due

	Gets   uint64 `json:"gets"`
	Loads  uint64 `json:"loads"`  // of these, how many read the database
	Cached int    `json:"cached"` // keys whose records are in memory

	Size    int64 `json:"size"`    // bytes of the tables, as measured every minute
	Free    int64 `json:"free"`    // bytes left on the disk, -1: unknown
	Floor   int64 `json:"floor"`   // bytes below which nothing is written
	Ballast bool  `json:"ballast"` // the ballast file is there

	Catalogue []SourceState           `json:"catalogue"` // of each source
	Followers map[string]uint64       `json:"followers"` // nodes that follow, and by how many revisions of the own source they lag
	Digests   map[record.Topic]string `json:"digests"`   // see Journal.Digests
	Streams   int64                   `json:"streams"`   // that others read here now
	Follows   int64                   `json:"follows"`   // that are read elsewhere now

	Damaged bool   `json:"damaged,omitempty"` // a table fails its checksums: what is not found may have been lost
	Failure string `json:"failure,omitempty"` // why nothing is written until a restart
}

// Stats returns the journal's figures.
func (j *Journal) Stats() Stats {
	s := Stats{
		Source: j.Source(), Head: j.Head(), Sources: len(j.Sources()), Records: j.counts(),
		Updates: j.counters.updates.Load(), Commits: j.counters.commits.Load(),
		Conflicts: j.counters.conflicts.Load(), Refused: j.counters.refused.Load(),
		Expired: j.counters.expired.Load(),
		Gets:    j.counters.gets.Load(), Loads: j.counters.loads.Load(), Cached: j.cache.Len(),
		Size: j.space.size.Load(), Floor: j.space.bound(), Ballast: j.space.hasBallast(), Free: -1, Damaged: j.damaged.Load(),
	}
	s.Catalogue, s.Digests = j.Catalogue(), j.Digests()
	s.Followers = j.lags()
	s.Streams, s.Follows = j.counters.streams.Load(), j.counters.follows.Load()
	if free, err := j.space.free(j.space.dir); err == nil && free != math.MaxInt64 {
		s.Free = free
	}
	if err := j.failure(); err != nil {
		s.Failure = err.Error()
	}
	return s
}

func (j *Journal) failure() error {
	j.committed.mu.Lock()
	defer j.committed.mu.Unlock()
	return j.committed.failure
}
