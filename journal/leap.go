package journal

import (
	"math/rand/v2"
	"slices"
)

// leap is a range of revisions that this journal leaves out. A database that
// was restored from an old copy does not know what it had written since, and
// would give the same revisions again. So each time that it is opened it leaps
// ahead: who knows a revision from the range that was left out knows it from a
// former life.
type leap struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"` // the last one that was left out
}

// Bounds of a leap. It is longer than what is written between two copies, and
// no two are of one length.
const (
	minLeap  = 1 << 32
	leapMore = 1 << 31
)

// leaps are the latest ones, in order. The last is this run's if it leapt.
type leaps []leap

// maxLeaps is how many are remembered.
const maxLeaps = 64

// leapt adds this run's leap. Where nothing was ever written, or nobody else
// can know of it, there is no need for one.
func (l leaps) leapt(head uint64, cluster bool, sources map[string]state, own string) leaps {
	for source, s := range sources {
		cluster = cluster || source != own && s.claim > 0
	}
	if head == 0 || !cluster {
		return l
	}
	l = append(slices.Clip(l), leap{head, head + minLeap + rand.Uint64N(leapMore)})
	return l[max(0, len(l)-maxLeaps):]
}

// next returns the revision after a head.
func (l leaps) next(head uint64) uint64 {
	if n := len(l); n > 0 && head == l[n-1].From {
		head = l[n-1].To
	}
	return head + 1
}

// within tells whether a revision was left out.
func (l leaps) within(revision uint64) bool {
	return slices.ContainsFunc(l, func(one leap) bool { return revision > one.From && revision <= one.To })
}

// behind returns how many revisions lie between a claim and a head, without
// those that were left out.
func (l leaps) behind(claim, head uint64) uint64 {
	n := head - min(claim, head)
	for _, one := range l {
		if claim <= one.From && head > one.To {
			n -= one.To - one.From
		}
	}
	return n
}

// Behind returns how many revisions of this journal's own source come after a
// claim.
func (j *Journal) Behind(claim uint64) uint64 {
	j.committed.mu.Lock()
	defer j.committed.mu.Unlock()
	return j.committed.leaps.behind(claim, j.committed.head.Load())
}

// Ahead tells whether a claim on this journal's own source says more than the
// journal itself knows: then its database was restored from an old copy, and
// must go on as a new source, see Renew.
func (j *Journal) Ahead(claim uint64) bool {
	j.committed.mu.Lock()
	defer j.committed.mu.Unlock()
	return claim > j.committed.head.Load() || j.committed.leaps.within(claim)
}
