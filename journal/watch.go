package journal

import (
	"slices"
	"sync"

	"github.com/ooseio/oose/record"
)

// watchers are those who want to know what was committed.
type watchers struct {
	mu      sync.Mutex
	byTopic map[record.Topic][]*watcher
}

type watcher struct{ f func([]record.Record) }

// Watch has f called with every committed batch's records of a topic, in the
// order of commits and before those updates are answered, until stop returns.
// f and stop run under the committer's eyes: f must not call the journal, nor stop.
func (j *Journal) Watch(topic record.Topic, f func([]record.Record)) (stop func()) {
	return j.watchers.add(topic, f)
}

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

// tell hands each topic's records of one commit to its watchers.
func (w *watchers) tell(batch []written) {
	w.mu.Lock()
	defer w.mu.Unlock()
	byTopic := make(map[record.Topic][]record.Record, 2)
	var order []record.Topic
	for i := range batch {
		r := batch[i].Record
		if len(w.byTopic[r.Topic]) == 0 {
			continue
		}
		if byTopic[r.Topic] == nil {
			order = append(order, r.Topic)
		}
		byTopic[r.Topic] = append(byTopic[r.Topic], r)
	}
	for _, topic := range order {
		for _, one := range w.byTopic[topic] {
			one.f(slices.Clip(byTopic[topic]))
		}
	}
}
