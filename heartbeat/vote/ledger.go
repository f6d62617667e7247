package vote

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Vote is one node's word that another does not answer.
type Vote struct {
	About   string `json:"about"`             // the id of the node
	Started int64  `json:"started,omitempty"` // milliseconds since 1970: the run of it that the voter knows; 0: none, and the vote is about every run
}

// Ballot is all that one node has to say about others at one time. It replaces
// what the same node has said before: an empty one withdraws all votes.
type Ballot struct {
	Voter   string `json:"voter"`           // the id of the node
	Started int64  `json:"started"`         // milliseconds since 1970: the voter's own run
	Seq     uint64 `json:"seq"`             // grows with each ballot of a run
	Age     int64  `json:"age,omitempty"`   // milliseconds since the voter said it, as far as is known
	Votes   []Vote `json:"votes,omitempty"` // in the order of their ids
}

// replaces tells whether a ballot is newer than another of the same voter.
func (b *Ballot) replaces(old *Ballot) bool {
	return cmp.Or(cmp.Compare(b.Started, old.Started), cmp.Compare(b.Seq, old.Seq)) > 0
}

// Bounds of what a ledger takes and gives.
const (
	MaxBallots = 4096 // of one ledger
	MaxVotes   = 1024 // of one ballot
	maxGiven   = 8192 // votes and ballots that Since gives at once, together
)

// remember is for how long a ballot that no longer counts is kept, so that a
// copy of it that is still under way is known to be old.
const remember = 10 * time.Second

// Ledger keeps the newest ballot of each node. Its version grows with each
// change, so that others are told only what is new to them.
type Ledger struct {
	life    time.Duration
	version uint64
	entries map[string]*entry // by voter
	order   []*entry          // by version; some of them are in entries no more
}

type entry struct {
	Ballot
	said    time.Time // by this node's clock
	version uint64    // when it was last replaced
	from    string    // who told it
	dead    bool      // its life is over
	gone    bool      // it is not in entries any more
}

// NewLedger returns an empty ledger whose votes live for so long.
func NewLedger(life time.Duration) *Ledger {
	return &Ledger{life: life, entries: make(map[string]*entry)}
}

// SetLife has votes live for another time from now on.
func (l *Ledger) SetLife(life time.Duration) { l.life = life }

// Version is 0 for an empty ledger that never held anything.
func (l *Ledger) Version() uint64 { return l.version }

// Take takes in a ballot that a node told, "" for this one. Its Age is what has
// passed since the voter said it. kept is false where it is not newer than what
// is known; news, where it says the same as before.
func (l *Ledger) Take(b Ballot, from string, now time.Time) (kept, news bool) {
	age := time.Duration(min(max(b.Age, 0), l.life.Milliseconds())) * time.Millisecond
	if b.Voter == "" || len(b.Votes) > MaxVotes || age >= l.life {
		return false, false
	}
	old := l.entries[b.Voter]
	switch {
	case old == nil && len(l.entries) >= MaxBallots:
		return false, false
	case old != nil && !b.replaces(&old.Ballot):
		return false, false
	}
	l.version++
	b.Age = 0
	l.put(&entry{Ballot: b, said: now.Add(-age), version: l.version, from: from})
	if old == nil || old.dead {
		return true, len(b.Votes) > 0
	}
	return true, !slices.Equal(old.Votes, b.Votes)
}

// put has an entry take the place of its voter's.
func (l *Ledger) put(e *entry) {
	if old := l.entries[e.Voter]; old != nil {
		old.gone = true
	}
	l.entries[e.Voter] = e
	const spare = 64
	if len(l.order) >= 2*len(l.entries)+spare {
		l.order = slices.DeleteFunc(l.order, func(e *entry) bool { return e.gone })
	}
	l.order = append(l.order, e)
}

// Unheard says that a node has restarted: it knows nothing of what it told.
func (l *Ledger) Unheard(node string) {
	for _, e := range l.entries {
		if e.from == node {
			e.from = ""
		}
	}
}

// Expire drops the ballots whose life is over; gone tells whether there were
// votes among them.
func (l *Ledger) Expire(now time.Time) (gone bool) {
	for voter, e := range l.entries {
		age := now.Sub(e.said)
		if age >= l.life && !e.dead {
			e.dead = true
			gone = gone || len(e.Votes) > 0
		}
		if age >= l.life+remember {
			e.gone = true
			delete(l.entries, voter)
		}
	}
	return gone
}

// Since returns the live ballots that were taken in after a version, the oldest
// first, and the version that they lead to. What a node itself told, or said, is
// left out of what it is given.
func (l *Ledger) Since(version uint64, to string, now time.Time) (list []Ballot, upTo uint64) {
	first, _ := slices.BinarySearchFunc(l.order, version+1, func(e *entry, v uint64) int { return cmp.Compare(e.version, v) })
	given := 0
	for _, e := range l.order[first:] {
		if e.gone || e.dead || e.from == to || e.Voter == to || now.Sub(e.said) >= l.life {
			continue
		}
		if given += 1 + len(e.Votes); given > maxGiven && len(list) > 0 {
			return list, upTo
		}
		b := e.Ballot
		b.Age = now.Sub(e.said).Milliseconds()
		list, upTo = append(list, b), e.version
	}
	return list, l.version
}

// Votes returns who votes against whom, by the ids of those whom votes are
// about, each with its voters in the order of their ids. run tells which run of a
// node is known; votes about an earlier one are left out.
func (l *Ledger) Votes(run func(id string) int64) map[string][]string {
	votes := make(map[string][]string)
	for _, voter := range slices.Sorted(maps.Keys(l.entries)) {
		e := l.entries[voter]
		if e.dead {
			continue
		}
		for _, v := range e.Votes {
			if v.About != voter && (v.Started == 0 || v.Started >= run(v.About)) {
				votes[v.About] = append(votes[v.About], voter)
			}
		}
	}
	return votes
}
