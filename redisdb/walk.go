package redisdb

import (
	"cmp"
	"container/heap"
	"context"
	"iter"
	"maps"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/ooseio/oose/record"
)

// walkWindow bounds how many records are remembered at once while a walk puts
// them in order, each with some 100 bytes.
const walkWindow = 1 << 18

// Walk yields the latest version of every record behind a position, each
// source in the order of its revisions; see record.Engine.
//
// Redis keeps no index by revision, which would cost every record memory for
// good: a walk goes through all records, and for each source once more where it
// has more records than a window holds. What is written meanwhile is seen, or
// follows in the last round.
func (e *Engine) Walk(ctx context.Context, since record.Position) iter.Seq2[record.Record, error] {
	return func(yield func(record.Record, error) bool) {
		if err := e.usable(ctx); err != nil {
			yield(record.Record{}, err)
			return
		}
		behind := make(record.Position, len(since))
		maps.Copy(behind, since)
		for {
			w, err := e.nextWindow(ctx, behind)
			if err != nil {
				yield(record.Record{}, err)
				return
			}
			for _, places := range w.bySource() {
				if !e.walkPlaces(ctx, places, behind, !w.full, yield) {
					return
				}
			}
			if !w.full {
				return
			}
		}
	}
}

// place is where a record is, and its position.
type place struct {
	source   string
	revision uint64
	topic    record.Topic
	key      string
	member   string
}

func comparePlaces(a, b place) int {
	return cmp.Or(cmp.Compare(a.source, b.source), cmp.Compare(a.revision, b.revision))
}

// window holds the first places, by source and revision, of all that were added.
type window struct {
	size   int
	places []place // a heap, the last one on top
	full   bool    // some did not fit
}

func (w *window) Len() int           { return len(w.places) }
func (w *window) Less(i, k int) bool { return comparePlaces(w.places[i], w.places[k]) > 0 }
func (w *window) Swap(i, k int)      { w.places[i], w.places[k] = w.places[k], w.places[i] }

// Push is heap.Interface's.
func (w *window) Push(x any) {
	if p, ok := x.(place); ok {
		w.places = append(w.places, p)
	}
}

// Pop is heap.Interface's.
func (w *window) Pop() any {
	last := w.places[len(w.places)-1]
	w.places = w.places[:len(w.places)-1]
	return last
}

func (w *window) add(p place) {
	if len(w.places) < w.size {
		heap.Push(w, p)
		return
	}
	w.full = true
	if comparePlaces(p, w.places[0]) < 0 {
		w.places[0] = p
		heap.Fix(w, 0)
	}
}

// bySource returns the places in order, those of each source together.
func (w *window) bySource() [][]place {
	slices.SortFunc(w.places, comparePlaces)
	var all [][]place
	for start, end := 0, 0; start < len(w.places); start = end {
		for end < len(w.places) && w.places[end].source == w.places[start].source {
			end++
		}
		all = append(all, w.places[start:end])
	}
	return all
}

// nextWindow finds the first records behind the positions.
func (e *Engine) nextWindow(ctx context.Context, behind record.Position) (*window, error) {
	w := &window{size: e.window}
	for _, topic := range record.Topics() {
		for r, err := range e.List(ctx, topic, record.ByKey, "", "") {
			if err != nil {
				return nil, err
			}
			if r.Revision > behind[r.Source] {
				w.add(place{r.Source, r.Revision, r.Topic, r.Key, r.Member})
			}
		}
	}
	return w, nil
}

// walkPlaces yields the records at places, in the order of their revisions, and
// moves the position of their source. What was written again meanwhile comes in
// a later round, and at the end of the last one.
func (e *Engine) walkPlaces(ctx context.Context, places []place, behind record.Position, last bool, yield func(record.Record, error) bool) bool {
	var later []record.Record
	for some := range slices.Chunk(places, groupPage) {
		records, err := e.at(ctx, some)
		if err != nil {
			yield(record.Record{}, err)
			return false
		}
		for i, r := range records {
			switch {
			case r.Revision == some[i].revision:
				if !yield(r, nil) {
					return false
				}
			case r.Revision != 0 && last:
				later = append(later, r)
			}
		}
	}
	behind[places[0].source] = places[len(places)-1].revision
	slices.SortFunc(later, func(a, b record.Record) int { return cmp.Compare(a.Revision, b.Revision) })
	for _, r := range later {
		if !yield(r, nil) {
			return false
		}
	}
	return true
}

// at reads the versions at places; where there is none by now, or one that
// can't be read, the record is the zero one.
func (e *Engine) at(ctx context.Context, places []place) ([]record.Record, error) {
	records := make([]record.Record, len(places))
	err := e.askMany(ctx, len(places), func(i int) int { return tagOf(places[i].topic, places[i].key) },
		func(ctx context.Context, p redis.Pipeliner, i int) func() error {
			at := places[i]
			field := fieldOf(at.member, at.source)
			cmd := p.HMGet(ctx, e.layout.records(at.topic, at.key), field)
			return func() error {
				values, err := cmd.Result()
				if err != nil {
					return err
				}
				records[i] = record.Record{}
				if raw, ok := values[0].(string); ok {
					if r, err := decodeVersion(at.topic, at.key, field, raw); err == nil {
						records[i] = r
					}
				}
				return nil
			}
		})
	return records, err
}
