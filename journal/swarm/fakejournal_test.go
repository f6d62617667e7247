package swarm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ooseio/oose/journal"
)

// A fakeJournal replicates numbers in the way the journal does records: what a
// source wrote, then marks, then live. It lets the tests of connections do
// without disks, and under synctest.
type fakeJournal struct {
	mu      sync.Mutex
	own     string
	renewed int
	heads   map[string]uint64
	claims  map[string]uint64
	acked   map[string]map[string]uint64 // by node
	forgot  []string
	follows map[string]int // streams being read, by source
	most    int            // streams of one source that were ever read at a time
	servers map[string]string
	change  chan struct{}
	reload  chan struct{} // closed: the streams end in good order
	asked   func()        // what Part does first
}

func newFakeJournal(own string) *fakeJournal {
	return &fakeJournal{
		own: own, heads: map[string]uint64{own: 0}, claims: map[string]uint64{own: 0},
		acked: make(map[string]map[string]uint64), follows: make(map[string]int), servers: make(map[string]string), change: make(chan struct{}), reload: make(chan struct{}),
	}
}

// write gives n revisions of the own source.
func (j *fakeJournal) write(n uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.set(j.own, j.heads[j.own]+n)
}

// set is called with mu held.
func (j *fakeJournal) set(source string, revision uint64) {
	j.heads[source], j.claims[source] = max(j.heads[source], revision), max(j.claims[source], revision)
	close(j.change)
	j.change = make(chan struct{})
}

func (j *fakeJournal) has(source string) uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.claims[source]
}

// snapshot is a journal with what this one has now.
func (j *fakeJournal) snapshot() *fakeJournal {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := newFakeJournal(j.own)
	c.heads, c.claims = maps.Clone(j.heads), maps.Clone(j.claims)
	return c
}

func (j *fakeJournal) ack(node string) uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.acked[node][j.own]
}

func (j *fakeJournal) from(source string) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.follows[source] == 0 {
		return ""
	}
	return j.servers[source]
}

func (j *fakeJournal) Source() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.own
}

func (j *fakeJournal) Head() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.heads[j.own]
}

// Ahead of it is what is behind its head: it leaves no revision out.
func (j *fakeJournal) Ahead(claim uint64) bool {
	return claim > j.Head()
}

func (j *fakeJournal) Behind(claim uint64) uint64 { return j.Head() - min(claim, j.Head()) }

func (j *fakeJournal) Catalogue() (list []journal.SourceState) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, source := range slices.Sorted(maps.Keys(j.heads)) {
		list = append(list, journal.SourceState{Source: source, Head: j.heads[source], Claim: j.claims[source], Own: source == j.own})
	}
	return list
}

func (j *fakeJournal) Claims() map[string]uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return maps.Clone(j.claims)
}

func (j *fakeJournal) Since(source, _ string) uint64 { return j.has(source) }

// fakeFrame is a line of a fake stream.
type fakeFrame struct {
	Mark uint64 `json:"mark"`
}

func (j *fakeJournal) Stream(ctx context.Context, source string, _ uint64, w io.Writer, flush func() error) error {
	for {
		j.mu.Lock()
		mark, change, reload := j.claims[source], j.change, j.reload
		j.mu.Unlock()
		b, err := json.Marshal(fakeFrame{Mark: mark})
		if err != nil {
			return err
		}
		if _, err := w.Write(append(b, '\n')); err != nil {
			return err
		}
		if err := flush(); err != nil {
			return err
		}
		idle := time.NewTimer(10 * time.Second)
		for changed := false; !changed; {
			select {
			case <-ctx.Done():
				idle.Stop()
				return ctx.Err()
			case <-reload:
				idle.Stop()
				return nil
			case <-change:
				j.mu.Lock()
				changed, change = j.claims[source] != mark, j.change
				j.mu.Unlock()
			case <-idle.C:
				changed = true
			}
		}
		idle.Stop()
	}
}

func (j *fakeJournal) Follow(ctx context.Context, source, server string, r io.Reader, claimed func(uint64)) error {
	j.mu.Lock()
	j.follows[source]++
	j.most = max(j.most, j.follows[source])
	j.servers[source] = server
	j.mu.Unlock()
	defer func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.follows[source]--
	}()
	lines := bufio.NewReaderSize(r, 4096)
	for {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return journal.ErrStream
		}
		if err != nil {
			return err
		}
		var f fakeFrame
		if err := json.Unmarshal(line, &f); err != nil {
			return fmt.Errorf("%w: %w", journal.ErrStream, err)
		}
		j.mu.Lock()
		moved := f.Mark > j.claims[source]
		if moved || j.heads[source] == 0 {
			j.set(source, f.Mark)
		}
		j.mu.Unlock()
		if moved {
			claimed(f.Mark)
		}
	}
}

func (j *fakeJournal) Acknowledge(node string, claims map[string]uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.acked[node] == nil {
		j.acked[node] = make(map[string]uint64)
	}
	for source, claim := range claims {
		j.acked[node][source] = max(j.acked[node][source], claim)
	}
}

func (j *fakeJournal) Forget(node string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.acked, node)
	j.forgot = append(j.forgot, node)
}

func (j *fakeJournal) Part(_ context.Context, known []journal.SourceState) error {
	if j.asked != nil {
		j.asked()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if !slices.ContainsFunc(known, func(s journal.SourceState) bool {
		return s.Source == j.own && max(s.Claim, s.Head) > j.heads[j.own]
	}) {
		return nil
	}
	j.renewed++
	j.own = fmt.Sprintf("%s-%d", j.own, j.renewed+1)
	j.set(j.own, 0)
	return nil
}
