package journal

import (
	"context"
	"maps"
	"sync"

	"github.com/ooseio/oose/record"
)

// followers is how far other nodes have what is here, by their own word.
type followers struct {
	mu     sync.Mutex
	claims map[string]map[string]uint64 // node, source
	moved  chan struct{}                // closed when they moved; made when somebody waits
}

func (f *followers) wake() {
	if f.moved != nil {
		close(f.moved)
		f.moved = nil
	}
}

// Acknowledge notes how far a node that follows has everything durably; what it
// does not name is as before. It is kept in memory.
func (j *Journal) Acknowledge(node string, claims map[string]uint64) {
	j.committed.mu.Lock()
	known := make(map[string]uint64, len(claims))
	for source, claim := range claims {
		if _, ok := j.committed.sources[source]; ok {
			known[source] = claim
		}
	}
	j.committed.mu.Unlock()
	f := &j.followers
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.claims == nil {
		f.claims = make(map[string]map[string]uint64)
	}
	if f.claims[node] == nil {
		f.claims[node] = make(map[string]uint64)
	}
	maps.Copy(f.claims[node], known)
	f.wake()
}

// Forget has a node's acknowledgements no longer count.
func (j *Journal) Forget(node string) {
	f := &j.followers
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.claims, node)
	f.wake()
}

// Confirm waits until another node has acknowledged a write of this journal,
// until none is left that could, or until ctx ends; see record.Confirmer.
func (j *Journal) Confirm(ctx context.Context, ack record.Ack) record.Ack {
	return j.await(ctx, ack, func(others, _ int) bool { return others > 0 })
}

// Spread waits until every node that follows this journal has acknowledged a write
// of it, or until ctx ends, and returns the ack with the copies there are.
func (j *Journal) Spread(ctx context.Context, ack record.Ack) record.Ack {
	return j.await(ctx, ack, func(others, all int) bool { return others == all })
}

// await waits until so many nodes as is enough, of all that follow, have a write.
func (j *Journal) await(ctx context.Context, ack record.Ack, enough func(others, all int) bool) record.Ack {
	for {
		others, all, moved := j.holders(ack.Revision)
		ack.Copies = max(ack.Copies, 1+others)
		if moved == nil || enough(others, all) {
			return ack
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ack
		}
	}
}

// holders returns how many nodes have this journal's own source up to a
// revision, of all that follow. Where there is none that could, moved is nil.
func (j *Journal) holders(revision uint64) (n, all int, moved <-chan struct{}) {
	source := j.Source()
	f := &j.followers
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, claims := range f.claims {
		// A claim above the head is one of what an older copy of this database wrote.
		if claim := claims[source]; claim >= revision && !j.Ahead(claim) {
			n++
		}
	}
	if len(f.claims) == 0 {
		return 0, 0, nil
	}
	if f.moved == nil {
		f.moved = make(chan struct{})
	}
	return n, len(f.claims), f.moved
}

// lags returns for each node that follows by how many revisions of this
// journal's own source it is behind.
func (j *Journal) lags() map[string]uint64 {
	f, source := &j.followers, j.Source()
	f.mu.Lock()
	defer f.mu.Unlock()
	lags := make(map[string]uint64, len(f.claims))
	for node, claims := range f.claims {
		lags[node] = j.Behind(claims[source])
	}
	return lags
}
