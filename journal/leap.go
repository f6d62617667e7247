package journal

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
)

// leap is a range of revisions that a source leaves out. A database that was
// restored from an old copy does not know what it had written since, and would
// give the same revisions again. So each time that it is opened it leaps ahead:
// who knows a revision from the range that was left out knows it from a former
// life.
type leap struct {
	From uint64
	To   uint64 // the last one that was left out
}

// Bounds of a leap. It is longer than what is written between two copies, and
// no two are of one length.
const (
	minLeap  = 1 << 32
	leapMore = 1 << 31
)

func leapFrom(head uint64) leap { return leap{head, head + minLeap + rand.Uint64N(leapMore)} }

func (l leap) has(revision uint64) bool { return revision > l.From && revision <= l.To }

// crosses tells whether two leaps can't be of one continuation.
func (l leap) crosses(other leap) bool {
	return l != other && l.From < other.To && other.From < l.To
}

// leaps are those of one source that are known, in order. They are never
// changed in place.
type leaps []leap

// maxLeaps is how many of a source are remembered, the latest.
const maxLeaps = 64

// at returns the leap over a revision.
func (l leaps) at(revision uint64) (leap, bool) {
	if i := slices.IndexFunc(l, func(one leap) bool { return one.has(revision) }); i >= 0 {
		return l[i], true
	}
	return leap{}, false
}

// within tells whether a revision was left out.
func (l leaps) within(revision uint64) bool {
	_, in := l.at(revision)
	return in
}

// to returns the leap to a revision.
func (l leaps) to(revision uint64) (leap, bool) {
	if i := slices.IndexFunc(l, func(one leap) bool { return one.To == revision }); i >= 0 {
		return l[i], true
	}
	return leap{}, false
}

// crossed returns one of these that can't be of the same continuation as another.
func (l leaps) crossed(other leap) (leap, bool) {
	if i := slices.IndexFunc(l, other.crosses); i >= 0 {
		return l[i], true
	}
	return leap{}, false
}

// with returns these and others, but for those that are of another continuation.
func (l leaps) with(others ...leap) leaps {
	all := slices.Clone(l)
	for _, one := range others {
		_, known := all.to(one.To)
		if _, crossed := all.crossed(one); !known && !crossed {
			all = append(all, one)
		}
	}
	if len(all) == len(l) {
		return l
	}
	slices.SortFunc(all, func(a, b leap) int {
		if a.To < b.To {
			return -1
		}
		return 1
	})
	return all[max(0, len(all)-maxLeaps):]
}

// last returns the latest, an empty one where there is none.
func (l leaps) last() leap {
	if len(l) == 0 {
		return leap{}
	}
	return l[len(l)-1]
}

// before returns those that end before a revision.
func (l leaps) before(revision uint64) leaps {
	n := 0
	for n < len(l) && l[n].To < revision {
		n++
	}
	return l[:n:n]
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

// appendTo writes them as pairs of uvarints: where one begins, counted from the
// end of the one before, and how long it is.
func (l leaps) appendTo(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(l)))
	end := uint64(0)
	for _, one := range l {
		b = binary.AppendUvarint(b, one.From-end)
		b = binary.AppendUvarint(b, one.To-one.From)
		end = one.To
	}
	return b
}

// decodeLeaps reads what appendTo wrote, and returns what is behind it.
func decodeLeaps(b []byte) (l leaps, rest []byte, err error) {
	n, width := binary.Uvarint(b)
	if width <= 0 || n > maxLeaps {
		return nil, nil, errValue
	}
	b = b[width:]
	end := uint64(0)
	for range n {
		var pair [2]uint64
		for i := range pair {
			if pair[i], width = binary.Uvarint(b); width <= 0 {
				return nil, nil, errValue
			}
			b = b[width:]
		}
		one := leap{From: end + pair[0], To: end + pair[0] + pair[1]}
		if one.From < end || one.To <= one.From || one.To == math.MaxUint64 {
			return nil, nil, errValue
		}
		l, end = append(l, one), one.To
	}
	return l, b, nil
}

// leapt returns the leap over a revision that a source made itself; those of a
// branch's past, and the one that it began with, are not among them.
func (s state) leapt(source string, revision uint64) (leap, bool) {
	l, in := s.leaps.at(revision)
	_, began, _ := parseBranch(source)
	return l, in && l.To > began
}

// next gives the own source's state its next revision. The first one of a run
// comes behind this run's leap.
func (j *Journal) next(own *state) uint64 {
	if l := j.committed.pending; l.To != 0 && own.head == l.From {
		own.leaps = own.leaps.with(l)
		own.head = l.To
	}
	own.head++
	return own.head
}

// leapt returns this run's leap; none where nothing was ever written, or where
// nobody else can know of it.
func leapt(head uint64, cluster bool, sources map[string]state, own string) leap {
	for source, s := range sources {
		cluster = cluster || source != own && s.claim > 0
	}
	if head == 0 || !cluster {
		return leap{}
	}
	return leapFrom(head)
}

// Behind returns how many revisions of this journal's own source come after a
// claim.
func (j *Journal) Behind(claim uint64) uint64 {
	j.committed.mu.Lock()
	defer j.committed.mu.Unlock()
	return j.committed.behind(j.Source(), claim)
}

func (c *committed) behind(source string, claim uint64) uint64 {
	s := c.sources[source]
	_, first, _ := parseBranch(source)
	return s.leaps.behind(max(claim, first), s.head)
}

// Ahead tells whether a claim on this journal's own source says more than the
// journal itself knows: then its database was restored from an old copy, see Part.
func (j *Journal) Ahead(claim uint64) bool {
	j.committed.mu.Lock()
	defer j.committed.mu.Unlock()
	return j.committed.ahead(j.Source(), claim)
}

func (c *committed) ahead(own string, claim uint64) bool {
	s := c.sources[own]
	_, over := s.leapt(own, claim)
	return over || claim > s.head
}
