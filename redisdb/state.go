package redisdb

import (
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// confirmedFor is how long a cached record counts after its tag's stream was
// last read to its end.
const confirmedFor = time.Second

// failuresInRow is how many calls for a tag end without an answer before its
// server counts as away at once, and not only when the follower finds it so.
const failuresInRow = 3

// tagState is what is known about a tag's server and stream.
type tagState struct {
	away      atomic.Bool
	failures  atomic.Int32
	silent    atomic.Bool   // the last call was not answered; with one server, the first tag's counts for all
	confirmed atomic.Int64  // since began: nothing that was committed before is unknown; 0: never
	epoch     atomic.Uint64 // what was cached in an earlier one does not count

	told atomic.Pointer[string] // the entry of its stream up to which the follower has told of changes; nil: it does not follow
}

// tell notes that the follower has told of all changes up to an entry.
func (s *tagState) tell(at position) {
	id := at.String()
	s.told.Store(&id)
}

func (e *Engine) now() time.Duration { return time.Since(e.began) }

// fresh tells whether what is cached of a tag can be trusted.
func (e *Engine) fresh(tag int) bool {
	at := e.states[tag].confirmed.Load()
	return at != 0 && at >= e.locked.Load() && e.now()-time.Duration(at) < confirmedFor
}

// answered notes that a tag's server has answered.
func (e *Engine) answered(tag int) {
	if e.states[tag].failures.Load() != 0 {
		e.states[tag].failures.Store(0)
	}
	if s := e.server(tag); s.silent.Load() {
		s.silent.Store(false)
	}
}

// server is the state that stands for a tag's server.
func (e *Engine) server(tag int) *tagState {
	if e.mode != cluster {
		tag = 0
	}
	return &e.states[tag]
}

// failed notes that a tag's server has not answered. After some in a row it is
// away, until the follower has caught up again.
func (e *Engine) failed(tag int, err error) {
	e.server(tag).silent.Store(true)
	if e.states[tag].failures.Add(1) >= failuresInRow && e.follow.running.Load() {
		e.away(tag, err)
	}
}

// away has all calls for a tag fail at once. One server holds all tags.
func (e *Engine) away(tag int, err error) {
	if e.mode == cluster {
		e.markAway(tag, err)
		return
	}
	for t := range tags {
		e.markAway(t, err)
	}
}

func (e *Engine) markAway(tag int, err error) {
	if e.states[tag].away.Swap(true) {
		return
	}
	if e.follow.gone.Add(1) == 1 {
		e.log.Warn("redis is away: what is in memory is served, nothing is written", zap.Error(err))
	}
}

// back ends what away began: the follower has caught up.
func (e *Engine) back(tag int) {
	s := &e.states[tag]
	s.failures.Store(0)
	if s.away.Swap(false) && e.follow.gone.Add(-1) == 0 {
		e.log.Info("redis is back")
	}
}
