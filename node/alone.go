package node

import (
	"context"
	"slices"
	"time"

	"github.com/ooseio/oose/journal/swarm"
	"github.com/ooseio/oose/redisdb"
)

// runAlone notes since when this node has been cut off: from all others that it
// knows, or from Redis.
func (n *Node) runAlone(ctx context.Context) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		n.noteAlone(time.Now())
	}
}

func (n *Node) noteAlone(now time.Time) {
	var cut bool
	var already time.Duration
	if n.redis != nil {
		cut, already = behindRedis(n.redis.Stats())
	} else {
		nodes := n.others.swarm.Nodes()
		cut = len(nodes) > 0 && !slices.ContainsFunc(nodes, func(o swarm.Node) bool { return o.Reached })
	}
	switch {
	case !cut:
		n.aloneSince.Store(0)
	case n.aloneSince.Load() == 0:
		n.aloneSince.Store(now.Add(-already).UnixNano())
	}
}

// unreadFor is for how long Redis may not have been read to its end before the
// node counts as cut off from it: it is read several times a second.
const unreadFor = 2 * time.Second

// behindRedis tells whether what others have written into Redis may be unknown
// here, and for how long that has been so already. One part of a Redis Cluster
// that is away is enough: nobody can tell of which purchases it has.
func behindRedis(s redisdb.Stats) (cut bool, already time.Duration) {
	if s.Behind < 0 { // not once since the start, or since changes were missed
		return true, 0
	}
	already = time.Duration(s.Behind * float64(time.Second))
	return s.Away > 0 || already > unreadFor, already
}

// alone tells whether this node has been cut off for so long that it may no
// longer serve what may have been revoked: see Purchase.Alone.
func (n *Node) alone() bool {
	bound, since := n.rules().Purchase.Alone.Std(), n.aloneSince.Load()
	return bound > 0 && since != 0 && time.Now().UnixNano()-since > bound.Nanoseconds()
}
