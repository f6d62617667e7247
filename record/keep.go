package record

import "time"

// How long engines keep what is over.
const (
	// KeepExpired is how long purchases, their uses and sessions stay after the
	// latest expiry among their versions, so that they are answered as expired
	// and not as unknown.
	KeepExpired = time.Hour
	// KeepFinal is the same where one of the versions is final: a revocation
	// must outlive every replica that has not heard of it.
	KeepFinal = 30 * 24 * time.Hour
	// KeepTombstone is how long a tombstone of the inventory or of a
	// registration stays after it was written.
	KeepTombstone = 7 * 24 * time.Hour
)

// Expiring tells whether a topic's keys go, with all their versions at once,
// after the latest expiry among these.
func Expiring(topic Topic) bool {
	return topic == Purchase || topic == Use || topic == Session
}

// Tombstones tells whether a topic's tombstones go, each for itself, a while
// after they were written. The tombstones of other topics stay for good.
func Tombstones(topic Topic) bool { return topic == Inventory || topic == Peer }

// KeepUntil returns until when all versions under one key of an expiring topic
// are kept, in milliseconds since 1970; 0 says for good.
func KeepUntil(versions []Record) int64 {
	latest := LatestExpiry(versions)
	if latest == 0 {
		return 0
	}
	for _, v := range versions {
		if v.Final {
			return latest + KeepFinal.Milliseconds()
		}
	}
	return latest + KeepExpired.Milliseconds()
}

// TombstoneUntil returns until when a tombstone is kept, in milliseconds since 1970.
func TombstoneUntil(r Record) int64 { return r.Time.Milli() + KeepTombstone.Milliseconds() }

// Droppable tells whether the tombstone at i can go at now without bringing
// back what it hides: versions are all those of its (topic, key, member), and
// either something later is live anyway, or nothing earlier is.
func Droppable(topic Topic, versions []Record, i int, now int64) bool {
	if !versions[i].Deleted || TombstoneUntil(versions[i]) > now {
		return false
	}
	if _, live := Merge(topic, versions); live {
		return true
	}
	for _, v := range versions {
		if !v.Deleted && wins(versions[i], v) {
			return false
		}
	}
	return true
}
