package redisdb

import (
	"context"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/ooseio/oose/record"
)

// A change in a stream has the fields t and k, topic and key; w, who wrote it,
// where that is an engine's own update; and for each version that was written
// its field in the hash, after "=" with the version, or after "~" with the
// version's first line alone. After "-" stands a tombstone that was dropped;
// "-*" says that the key's records are all over. With t and k alone, what is
// under the key is read.

// change is what a stream's entry says.
type change struct {
	at      position
	topic   record.Topic
	key     string
	writer  string
	records []record.Record
	whole   bool // the records are all that was written, with their values
	dropped []record.Record
}

// parseChange reads an entry. It reports false for what is none.
func parseChange(m redis.XMessage) (change, bool) {
	c := change{at: parsePosition(m.ID)}
	c.topic = record.Topic(stringOf(m.Values["t"]))
	c.key = stringOf(m.Values["k"])
	c.writer = stringOf(m.Values["w"])
	if record.CheckKey(c.topic, c.key) != nil {
		return c, false
	}
	c.whole = true
	for name, value := range m.Values {
		if name == "" || strings.IndexByte("=~-", name[0]) < 0 {
			continue
		}
		if name == "-*" {
			c.dropped = append(c.dropped, record.Record{Topic: c.topic, Key: c.key, Deleted: true})
			continue
		}
		r, err := decodeVersion(c.topic, c.key, name[1:], stringOf(value))
		switch {
		case err != nil:
			c.whole = false
		case name[0] == '-':
			r.Deleted, r.Value = true, nil
			c.dropped = append(c.dropped, r)
		default:
			c.whole = c.whole && name[0] == '='
			c.records = append(c.records, r)
		}
	}
	if len(c.records) == 0 && len(c.dropped) == 0 {
		c.whole = false
	}
	slices.SortFunc(c.records, func(a, b record.Record) int { return strings.Compare(a.Member, b.Member) })
	return c, true
}

func stringOf(v any) string {
	s, _ := v.(string)
	return s
}

// take deals with a stream's entries, in their order: the cache forgets what
// they concern, and the watchers are told. What this engine wrote itself, the
// committer has told or will.
func (f *follower) take(ctx context.Context, tag int, entries []redis.XMessage) error {
	e, t := f.e, &f.tags[tag]
	var fresh []change
	last := t.at
	for _, m := range entries {
		at := parsePosition(m.ID)
		if !at.after(t.at) {
			continue
		}
		last = at
		c, ok := parseChange(m)
		if !ok {
			continue
		}
		name := groupKey(c.topic, c.key)
		read := f.mustRead(&c)
		if read || !f.own(&c) { // what the committer told of, it has invalidated
			e.cache.Invalidate(name)
		}
		if !c.at.after(t.guards[name]) && t.guards[name] != (position{}) {
			continue
		}
		fresh = append(fresh, c)
		if read {
			if t.stale == nil {
				t.stale = make(map[string]bool)
			}
			t.stale[name] = true
		}
	}
	for i := range fresh {
		c := &fresh[i]
		if !c.at.after(t.told) {
			continue
		}
		if c.writer == "" || !f.own(c) {
			f.tell(c, t.stale[groupKey(c.topic, c.key)])
		}
	}
	if last.after(t.told) {
		t.told = last
		e.states[tag].tell(last)
	}
	if err := f.read(ctx, t, t.stale); err != nil {
		return err
	}
	t.stale = nil
	t.at = last
	for name, guard := range t.guards {
		if !guard.after(last) {
			delete(t.guards, name)
		}
	}
	f.barrier.pass(tag, last)
	return nil
}

// own tells whether this process wrote a change.
func (f *follower) own(c *change) bool {
	writer, _, _ := strings.Cut(c.writer, ":")
	return writer == f.e.commits.writer
}

// mustRead tells whether a change's key has to be read to know what to tell.
func (f *follower) mustRead(c *change) bool {
	if f.own(c) {
		_, number, _ := strings.Cut(c.writer, ":")
		n, err := parseNumber(number)
		if err != nil || len(c.records) == 0 {
			return false
		}
		return f.e.commits.own.seen(n, c.records[0].Time)
	}
	for i := range c.records {
		f.e.clock.Observe(c.records[i].Time)
		if c.records[i].Source == f.e.source {
			return true // the committer knows the order of this source's versions
		}
	}
	return !c.whole
}

// tell hands a change to the watchers; without records that are read anyway.
func (f *follower) tell(c *change, read bool) {
	if len(c.dropped) > 0 {
		f.e.watchers.tellDropped(c.topic, c.dropped)
	}
	if !read && len(c.records) > 0 {
		f.e.watchers.tell(c.topic, c.records)
	}
}

// refreshOps is how many keys are read in one go.
const refreshOps = 128

// read has the committer read keys and tell what is there. Changes of these
// keys that come later but happened before that are old news.
func (f *follower) read(ctx context.Context, t *follow, names map[string]bool) error {
	if len(names) == 0 {
		return nil
	}
	var ops []*op
	for name := range names {
		topic, key, ok := parseGroupKey(name)
		if ok {
			ops = append(ops, &op{kind: refreshOp, tag: tagOf(topic, key), topic: topic, key: key})
		}
	}
	for some := range slices.Chunk(ops, refreshOps) {
		if err := f.e.commits.submit(ctx, f.e.commits.refresh, f.e.within.refresh, some...); err != nil {
			return err
		}
		for _, o := range some {
			if o.fail != nil {
				return o.fail
			}
			if t.guards == nil {
				t.guards = make(map[string]position)
			}
			t.guards[groupKey(o.topic, o.key)] = o.change
		}
	}
	return nil
}
