package redisdb

import (
	"slices"
	"sync"

	"github.com/ooseio/oose/record"
)

// watchers are those who want to know what was changed.
type watchers struct {
	mu      sync.Mutex
	byTopic map[record.Topic][]*watcher
	known   map[record.Topic]map[string]map[string]mark // by topic, key and field: what was told of mirrored topics
}

type watcher struct{ f func([]record.Record) }

// mark is what is remembered of a version, to tell that it is gone.
type mark struct {
	time     record.Time
	revision uint64
	deleted  bool
}

// mirrored tells whether watchers may keep the records of a topic themselves,
// so that they need each one that was missed, and a tombstone for each that
// vanished. These topics are small. Of the others, watchers keep only what they
// can read again.
func mirrored(topic record.Topic) bool {
	return topic == record.Peer || topic == record.Switch || topic == record.User
}

// told tells whether watchers need each record of a topic that was missed, to
// do something about it: what is removed or blocked must go from caches.
func told(topic record.Topic) bool { return topic == record.Removal || topic == record.Block }

func (w *watchers) add(topic record.Topic, f func([]record.Record)) (stop func()) {
	one := &watcher{f: f}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byTopic == nil {
		w.byTopic = make(map[record.Topic][]*watcher)
	}
	w.byTopic[topic] = append(w.byTopic[topic], one)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.byTopic[topic] = slices.DeleteFunc(w.byTopic[topic], func(x *watcher) bool { return x == one })
	}
}

// tell hands records of one topic to its watchers.
func (w *watchers) tell(topic record.Topic, records []record.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if mirrored(topic) {
		for i := range records {
			w.note(&records[i])
		}
	}
	w.hand(topic, records)
}

func (w *watchers) hand(topic record.Topic, records []record.Record) {
	if len(records) == 0 {
		return
	}
	for _, one := range w.byTopic[topic] {
		one.f(slices.Clip(records))
	}
}

// tellGroup hands over all versions of a key, as they are now: with tombstones
// for those that were told of before and are gone.
func (w *watchers) tellGroup(topic record.Topic, key string, versions []record.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	records := slices.Clone(versions)
	if !mirrored(topic) {
		if len(records) == 0 {
			records = append(records, record.Record{Topic: topic, Key: key, Deleted: true})
		}
		w.hand(topic, records)
		return
	}
	there := make(map[string]bool, len(versions))
	for i := range versions {
		there[fieldOf(versions[i].Member, versions[i].Source)] = true
		w.note(&versions[i])
	}
	for field, m := range w.known[topic][key] {
		if there[field] {
			continue
		}
		w.forget(topic, key, field)
		r := record.Record{Topic: topic, Key: key, Time: m.time, Revision: m.revision, Deleted: true}
		r.Member, r.Source = parseField(field)
		records = append(records, r)
	}
	w.hand(topic, records)
}

// tellChanged tells that anything of a topic may have changed.
func (w *watchers) tellChanged(topic record.Topic) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hand(topic, []record.Record{{Topic: topic}})
}

// tellDropped hands over tombstones that are not kept any longer. Where a newer
// version was told of, they are old news.
func (w *watchers) tellDropped(topic record.Topic, records []record.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if mirrored(topic) {
		records = slices.DeleteFunc(records, func(r record.Record) bool {
			field := fieldOf(r.Member, r.Source)
			m, ok := w.known[topic][r.Key][field]
			if ok && m.revision > r.Revision {
				return true
			}
			w.forget(topic, r.Key, field)
			return false
		})
	}
	w.hand(topic, records)
}

// mirroredKeys returns the keys of a mirrored topic and tag that were told of.
func (w *watchers) mirroredKeys(tag int, topic record.Topic) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var keys []string
	for key := range w.known[topic] {
		if tagOf(topic, key) == tag {
			keys = append(keys, key)
		}
	}
	return keys
}

func (w *watchers) note(r *record.Record) {
	if w.known == nil {
		w.known = make(map[record.Topic]map[string]map[string]mark)
	}
	if w.known[r.Topic] == nil {
		w.known[r.Topic] = make(map[string]map[string]mark)
	}
	if w.known[r.Topic][r.Key] == nil {
		w.known[r.Topic][r.Key] = make(map[string]mark)
	}
	w.known[r.Topic][r.Key][fieldOf(r.Member, r.Source)] = mark{r.Time, r.Revision, r.Deleted}
}

func (w *watchers) forget(topic record.Topic, key, field string) {
	delete(w.known[topic][key], field)
	if len(w.known[topic][key]) == 0 {
		delete(w.known[topic], key)
	}
}
