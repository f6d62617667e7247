package redisdb

import "time"

// Stats is what an operator may want to know of the engine.
type Stats struct {
	Source   string   `json:"source"`
	Mode     string   `json:"mode"`               // single, sentinel, cluster
	Head     uint64   `json:"head"`               // the last revision that this source gave
	Away     int      `json:"away"`               // parts of 64 whose server does not answer
	Behind   float64  `json:"behind"`             // seconds since the part that was read the longest ago was read to its end, -1: never
	Replicas int      `json:"replicas"`           // of the server that has the fewest
	Warnings []string `json:"warnings,omitempty"` // what Redis is set to that loses records
	Failure  string   `json:"failure,omitempty"`  // why nothing is read or written at all

	Updates   uint64 `json:"updates"`   // since the start, as are the next ones
	Conflicts uint64 `json:"conflicts"` // updates whose condition did not hold
	Refused   uint64 `json:"refused"`   // updates that could not be written
	Expired   uint64 `json:"expired"`   // keys and tombstones that this node tidied up behind
	Resyncs   uint64 `json:"resyncs"`   // parts of 64 of which changes were missed

	Gets       uint64 `json:"gets"`
	Loads      uint64 `json:"loads"`      // of these, how many asked Redis
	Stale      uint64 `json:"stale"`      // of these, how many got what was in memory because it did not answer
	Overtaken  uint64 `json:"overtaken"`  // of these, how many were read anew, since the server lacked changes that were known: another is the master
	Cached     int    `json:"cached"`     // keys whose records are in memory
	Unreadable int    `json:"unreadable"` // records that listings left out
}

// Stats returns the engine's figures.
func (e *Engine) Stats() Stats {
	s := Stats{
		Source: e.source, Mode: e.mode.String(), Head: e.commits.head.Load(), Away: int(e.follow.gone.Load()),
		Replicas: e.health.replicas(0), Warnings: e.health.list(),
		Updates: e.counters.updates.Load(), Conflicts: e.counters.conflicts.Load(), Refused: e.counters.refused.Load(),
		Expired: e.counters.expired.Load(), Resyncs: e.counters.resyncs.Load(),
		Gets: e.counters.gets.Load(), Loads: e.counters.loads.Load(), Stale: e.counters.stale.Load(),
		Overtaken: e.counters.overtaken.Load(), Cached: e.cache.Len(),
	}
	oldest := e.now()
	for t := range e.states {
		oldest = min(oldest, time.Duration(e.states[t].confirmed.Load()))
		s.Replicas = min(s.Replicas, e.health.replicas(t))
	}
	if s.Behind = -1; oldest > 0 {
		s.Behind = (e.now() - oldest).Seconds()
	}
	if why := e.refused.Load(); why != nil {
		s.Failure = *why
	}
	e.health.mu.Lock()
	defer e.health.mu.Unlock()
	s.Unreadable = e.health.broken
	return s
}
