package record

// Merge returns what the versions of one (topic, key, member) say together:
// a final version wins over the others, among equals the later time, then the
// greater source. It reports false where nothing is live: there is no version,
// or the winner is a tombstone.
//
// Use counts are not merged but summed, by their reader.
func Merge(topic Topic, versions []Record) (Record, bool) {
	var winner Record
	found := false
	for _, v := range versions {
		if !found || wins(v, winner) {
			winner, found = v, true
		}
	}
	return winner, found && !winner.Deleted
}

func wins(a, b Record) bool {
	if a.Final != b.Final {
		return a.Final
	}
	if a.Time != b.Time {
		return a.Time > b.Time
	}
	return a.Source > b.Source
}

// Members merges the versions under one key for each member, in the order in
// which Engine.Get returns them, and leaves out members with nothing live.
func Members(topic Topic, versions []Record) []Record {
	var merged []Record
	for start := 0; start < len(versions); {
		end := start + 1
		for end < len(versions) && versions[end].Member == versions[start].Member {
			end++
		}
		if r, ok := Merge(topic, versions[start:end]); ok {
			merged = append(merged, r)
		}
		start = end
	}
	return merged
}

// LatestExpiry returns the latest expiry among versions in milliseconds since
// 1970, 0 where one of them never expires or there is none.
func LatestExpiry(versions []Record) int64 {
	var latest int64
	for _, v := range versions {
		if v.Expires == 0 {
			return 0
		}
		latest = max(latest, v.Expires)
	}
	return latest
}
