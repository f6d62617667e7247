package redisdb

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/ooseio/oose/record"
)

const (
	indexPage = 64  // keys that are read of one tag's index in one go
	groupPage = 128 // keys whose records are read in one go
)

// List yields all versions in an index's order; see record.Engine. It merges
// the indices of all tags, in pages.
func (e *Engine) List(ctx context.Context, topic record.Topic, by record.Index, prefix, after string) iter.Seq2[record.Record, error] {
	return func(yield func(record.Record, error) bool) {
		if !record.Known(topic) || by > record.ByMember || by == record.ByMember && topic != record.Inventory {
			yield(record.Record{}, fmt.Errorf("listing %.40q: %w: no such index", string(topic), record.ErrInvalid))
			return
		}
		if err := e.usable(ctx); err != nil {
			yield(record.Record{}, err)
			return
		}
		l := newListing(e, topic, by, prefix, after)
		for {
			keys, err := l.next(ctx, groupPage)
			if err != nil {
				yield(record.Record{}, err)
				return
			}
			if len(keys) == 0 {
				return
			}
			groups, err := e.groups(ctx, topic, keys, l.index)
			if err != nil {
				yield(record.Record{}, err)
				return
			}
			for _, versions := range groups {
				for _, r := range versions {
					if by == record.ByMember && r.Member != prefix {
						continue
					}
					if !yield(r, nil) {
						return
					}
				}
			}
		}
	}
}

// listing goes through the indices of all tags, in the order of keys.
type listing struct {
	e       *Engine
	index   func(tag int) string
	to      string // bound of the range, as ZRANGEBYLEX has it
	cursors [tags]cursor
	queue   cursors
	begun   bool
}

// cursor is how far one tag's index was read.
type cursor struct {
	tag  int
	from string // bound of the range
	keys []string
	end  bool // there are no more behind keys
}

func newListing(e *Engine, topic record.Topic, by record.Index, prefix, after string) *listing {
	l := &listing{e: e, to: "+", index: func(tag int) string { return e.layout.keys(tag, topic) }}
	from := "-"
	if by == record.ByMember {
		l.index = func(tag int) string { return e.layout.member(tag, prefix) }
	} else {
		if prefix != "" {
			from = "[" + prefix
		}
		l.to = behindPrefix(prefix)
	}
	if after != "" && (by == record.ByMember || after >= prefix) {
		from = "(" + after
	}
	for t := range l.cursors {
		l.cursors[t] = cursor{tag: t, from: from}
	}
	return l
}

// behindPrefix is the bound behind all keys with a prefix.
func behindPrefix(prefix string) string {
	b := []byte(prefix)
	for len(b) > 0 && b[len(b)-1] == 0xff {
		b = b[:len(b)-1]
	}
	if len(b) == 0 {
		return "+"
	}
	b[len(b)-1]++
	return "(" + string(b)
}

// next returns the next keys, none at the end.
func (l *listing) next(ctx context.Context, n int) ([]string, error) {
	if !l.begun {
		l.begun = true
		var all []*cursor
		for t := range l.cursors {
			all = append(all, &l.cursors[t])
		}
		if err := l.fill(ctx, all); err != nil {
			return nil, err
		}
		for _, c := range all {
			if len(c.keys) > 0 {
				l.queue = append(l.queue, c)
			}
		}
		heap.Init(&l.queue)
	}
	var keys []string
	for len(keys) < n && len(l.queue) > 0 {
		c := l.queue[0]
		keys = append(keys, c.keys[0])
		c.keys = c.keys[1:]
		if len(c.keys) == 0 && !c.end {
			if err := l.fill(ctx, []*cursor{c}); err != nil {
				return nil, err
			}
		}
		if len(c.keys) == 0 {
			heap.Pop(&l.queue)
			continue
		}
		heap.Fix(&l.queue, 0)
	}
	return keys, nil
}

// fill reads the next page of some tags' indices.
func (l *listing) fill(ctx context.Context, some []*cursor) error {
	return l.e.askMany(ctx, len(some), func(i int) int { return some[i].tag },
		func(ctx context.Context, p redis.Pipeliner, i int) func() error {
			c := some[i]
			cmd := p.ZRangeByLex(ctx, l.index(c.tag), &redis.ZRangeBy{Min: c.from, Max: l.to, Count: indexPage})
			return func() (err error) {
				if c.keys, err = cmd.Result(); err != nil {
					return err
				}
				c.end = len(c.keys) < indexPage
				if n := len(c.keys); n > 0 {
					c.from = "(" + c.keys[n-1]
				}
				return nil
			}
		})
}

// groups reads the versions under keys. Where an index has a key of which there
// is nothing, the index is put right. A version that can't be read is left out:
// it must not hide the others.
func (e *Engine) groups(ctx context.Context, topic record.Topic, keys []string, index func(int) string) ([][]record.Record, error) {
	e.handed.Store(true)
	groups := make([][]record.Record, len(keys))
	var gone []int
	err := e.askMany(ctx, len(keys), func(i int) int { return tagOf(topic, keys[i]) },
		func(ctx context.Context, p redis.Pipeliner, i int) func() error {
			cmd := p.HGetAll(ctx, e.layout.records(topic, keys[i]))
			return func() error {
				fields, err := cmd.Result()
				if err != nil {
					return err
				}
				var broken error
				if groups[i], broken = decodeGroup(topic, keys[i], fields); broken != nil {
					e.health.unreadable(broken)
				}
				if len(fields) == 0 {
					gone = append(gone, i)
				}
				return nil
			}
		})
	if err != nil {
		return nil, err
	}
	for _, i := range gone {
		tag := tagOf(topic, keys[i])
		_ = e.ask(ctx, tag, func(ctx context.Context, c redis.Cmdable) error {
			return c.Eval(ctx, e.scripts.tidy.text, []string{e.layout.records(topic, keys[i]), index(tag)}, keys[i]).Err()
		})
	}
	return groups, nil
}

// askMany asks n things, each of the server of its tag, in one pipeline a
// server. add puts a question into the pipeline and returns what takes its
// answer; it may be asked again.
func (e *Engine) askMany(ctx context.Context, n int, tag func(int) int, add func(context.Context, redis.Pipeliner, int) func() error) error {
	byServer := make(map[*redis.Client][]int, 1)
	for i := range n {
		if e.states[tag(i)].away.Load() {
			return errAway
		}
		c, err := e.data.client(ctx, tag(i))
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return unavailable(err)
		}
		byServer[c] = append(byServer[c], i)
	}
	for _, some := range byServer {
		err := e.ask(ctx, tag(some[0]), func(ctx context.Context, c redis.Cmdable) error {
			takers := make([]func() error, len(some))
			err := pipelined(ctx, c, func(p redis.Pipeliner) {
				for k, i := range some {
					takers[k] = add(ctx, p, i)
				}
			})
			if err != nil && !isReply(err) {
				return err
			}
			var errs []error
			for _, take := range takers {
				if err := take(); err != nil {
					errs = append(errs, err)
				}
			}
			if len(errs) == 0 {
				return nil
			}
			for _, err := range errs {
				if moved(err) {
					return err
				}
			}
			return errors.Join(errs...)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// cursors is a heap by the next key.
type cursors []*cursor

func (c cursors) Len() int           { return len(c) }
func (c cursors) Less(i, k int) bool { return strings.Compare(c[i].keys[0], c[k].keys[0]) < 0 }
func (c cursors) Swap(i, k int)      { c[i], c[k] = c[k], c[i] }

// Push is heap.Interface's.
func (c *cursors) Push(x any) {
	if one, ok := x.(*cursor); ok {
		*c = append(*c, one)
	}
}

// Pop is heap.Interface's.
func (c *cursors) Pop() any {
	last := (*c)[len(*c)-1]
	*c = (*c)[:len(*c)-1]
	return last
}
