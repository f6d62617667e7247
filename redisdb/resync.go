package redisdb

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/ooseio/oose/record"
)

// join begins to follow the tags among group that are not followed. It reports
// false where one of them could not be joined.
func (f *follower) join(ctx context.Context, c *redis.Client, group []int) bool {
	var missing []int
	for _, tag := range group {
		if !f.tags[tag].synced {
			missing = append(missing, tag)
		}
	}
	if len(missing) == 0 {
		return true
	}
	if err := f.checkFormat(ctx); err != nil {
		for _, tag := range missing {
			f.e.away(tag, err)
		}
		return false
	}
	ok := true
	for tag, err := range f.joinAll(ctx, c, missing) {
		if err == nil {
			continue
		}
		ok = false
		f.unread(ctx, tag, err)
	}
	return ok
}

// joinAll returns for each tag what kept it from being followed.
func (f *follower) joinAll(ctx context.Context, c *redis.Client, missing []int) map[int]error {
	e := f.e
	bounded, cancel := context.WithTimeout(ctx, f.e.within.probe)
	defer cancel()
	results := make(map[int]error, len(missing))
	ends := make([]*redis.Cmd, len(missing))
	lists := make(map[int]map[record.Topic]*redis.StringSliceCmd)
	_ = pipelined(bounded, c, func(p redis.Pipeliner) {
		for i, tag := range missing {
			ends[i] = p.Eval(bounded, e.scripts.join.text, []string{e.layout.changes(tag), e.layout.heads(tag)}, e.source)
			lists[tag] = make(map[record.Topic]*redis.StringSliceCmd)
			for _, topic := range record.Topics() {
				if mirrored(topic) || f.tags[tag].once && told(topic) {
					lists[tag][topic] = p.ZRange(bounded, e.layout.keys(tag, topic), 0, -1)
				}
			}
		}
	})
	for i, tag := range missing {
		results[tag] = f.joinTag(ctx, tag, ends[i], lists[tag])
	}
	return results
}

// joinTag takes a tag's end as the place from which it is followed. What
// watchers mirror or act upon is read and told; of the other topics they are
// told that anything may have changed.
func (f *follower) joinTag(ctx context.Context, tag int, end *redis.Cmd, lists map[record.Topic]*redis.StringSliceCmd) error {
	e, t := f.e, &f.tags[tag]
	reply, err := end.Slice()
	if err != nil {
		return err
	}
	at := parsePosition(text(reply, 0))
	if at == (position{}) {
		return fmt.Errorf("redis answers %q", reply)
	}
	if n, err := parseNumber(text(reply, 1)); err == nil {
		t.head = max(t.head, n)
	}
	names := make(map[string]bool)
	for topic, list := range lists {
		keys, err := list.Result()
		if err != nil {
			return err
		}
		for _, key := range append(keys, e.watchers.mirroredKeys(tag, topic)...) {
			names[groupKey(topic, key)] = true
		}
	}
	e.states[tag].epoch.Add(1)
	if err := f.read(ctx, t, names); err != nil {
		return err
	}
	if t.once {
		e.counters.resyncs.Add(1)
		e.commits.raise(t.head)
	}
	if t.once || e.handed.Load() {
		f.mu.Lock()
		f.notice = true
		f.mu.Unlock()
	}
	t.synced, t.once, t.anchor, t.at, t.told = true, true, at, at, at
	e.states[tag].tell(at)
	f.barrier.pass(tag, at)
	return nil
}

// checkFormat refuses a database that a newer program wrote, and marks a new one.
func (f *follower) checkFormat(ctx context.Context) error {
	e := f.e
	bounded, cancel := context.WithTimeout(ctx, f.e.within.probe)
	defer cancel()
	u := e.control.any()
	text, err := u.Get(bounded, e.layout.format()).Result()
	if errors.Is(err, redis.Nil) {
		if err := u.SetNX(bounded, e.layout.format(), formatVersion, 0).Err(); err != nil {
			return err
		}
		text, err = u.Get(bounded, e.layout.format()).Result()
	}
	if err != nil {
		return err
	}
	if n, err := parseNumber(text); err == nil && n == formatVersion {
		if e.refused.Swap(nil) != nil {
			e.log.Info("the records in redis can be used again")
		}
		return nil
	}
	why := fmt.Sprintf("the records in redis are in format %.20q and this program knows %d, use a newer one", text, formatVersion)
	if old := e.refused.Swap(&why); old == nil {
		e.log.Error("redis can't be used", zap.String("reason", why))
	}
	return fmt.Errorf("%w: %s", record.ErrUnavailable, why)
}
