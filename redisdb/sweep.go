package redisdb

import (
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ooseio/oose/record"
)

const (
	sweepEvery = 5 * time.Second // all nodes do it, each tag's work is done by the first
	sweepPage  = 64              // keys of a tag that are looked at in one go
	sweepLater = time.Hour       // a tombstone that hides something stays so much longer
)

// sweep tidies up behind what is over, until ctx ends: Redis lets expired keys
// go by itself, but not their places in the indices, and knows nothing of
// tombstones.
func (e *Engine) sweep(ctx context.Context) {
	for {
		pause := time.NewTimer(sweepEvery/2 + rand.N(sweepEvery))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return
		}
		for _, tag := range rand.Perm(tags) {
			for ctx.Err() == nil {
				n, err := e.sweepTag(ctx, tag)
				if err != nil || n < sweepPage {
					break
				}
			}
		}
	}
}

// sweepTag looks at what of a tag is due, and returns how much that was.
func (e *Engine) sweepTag(ctx context.Context, tag int) (int, error) {
	now := e.clock.Wall().UnixMilli()
	var due []string
	err := e.ask(ctx, tag, func(ctx context.Context, c redis.Cmdable) (err error) {
		due, err = c.ZRangeByScore(ctx, e.layout.due(tag), &redis.ZRangeBy{
			Min: "-inf", Max: strconv.FormatInt(now, 10), Count: sweepPage,
		}).Result()
		return err
	})
	if err != nil {
		return 0, err
	}
	for _, name := range due {
		topic, key, ok := parseGroupKey(name)
		switch {
		case !ok:
			err = e.ask(ctx, tag, func(ctx context.Context, c redis.Cmdable) error {
				return c.ZRem(ctx, e.layout.due(tag), name).Err()
			})
		case record.Expiring(topic):
			err = e.sweepExpired(ctx, tag, topic, key)
		default:
			err = e.sweepTombstones(ctx, tag, topic, key, now)
		}
		if err != nil {
			return 0, err
		}
	}
	return len(due), nil
}

func (e *Engine) sweepExpired(ctx context.Context, tag int, topic record.Topic, key string) error {
	l := e.layout
	keys := []string{l.records(topic, key), l.changes(tag), l.keys(tag, topic), l.due(tag)}
	return e.ask(ctx, tag, func(ctx context.Context, c redis.Cmdable) error {
		n, err := c.Eval(ctx, e.scripts.expired.text, keys, string(topic), key, streamLength).Int64()
		if n > 0 {
			e.counters.expired.Add(1)
		}
		return err
	})
}

// sweepTombstones drops those tombstones under a key that nobody needs any
// more, or says when to look again.
func (e *Engine) sweepTombstones(ctx context.Context, tag int, topic record.Topic, key string, now int64) error {
	l := e.layout
	var fields map[string]string
	err := e.ask(ctx, tag, func(ctx context.Context, c redis.Cmdable) (err error) {
		fields, err = c.HGetAll(ctx, l.records(topic, key)).Result()
		return err
	})
	if err != nil {
		return err
	}
	versions, _ := decodeGroup(topic, key, fields)
	left, dropped := judge(topic, versions, now)
	next := "-"
	for i := range left {
		if left[i].Deleted {
			at := max(record.TombstoneUntil(left[i]), now+sweepLater.Milliseconds())
			if n, err := strconv.ParseInt(next, 10, 64); err != nil || at < n {
				next = strconv.FormatInt(at, 10)
			}
		}
	}
	keys := []string{l.records(topic, key), l.changes(tag), l.keys(tag, topic), l.due(tag)}
	args := []any{string(topic), key, streamLength, next, len(fields)}
	for field, raw := range fields {
		args = append(args, field, raw)
	}
	for i := range dropped {
		args = append(args, fieldOf(dropped[i].Member, dropped[i].Source))
		member := dropped[i].Member
		at := l.member(tag, member)
		if member != "" && !slices.Contains(keys, at) && !slices.ContainsFunc(left, func(r record.Record) bool { return r.Member == member }) {
			keys = append(keys, at)
		}
	}
	return e.ask(ctx, tag, func(ctx context.Context, c redis.Cmdable) error {
		n, err := c.Eval(ctx, e.scripts.drop.text, keys, args...).Int64()
		e.counters.expired.Add(uint64(n))
		return err
	})
}

// judge tells which of a key's versions stay and which can go.
func judge(topic record.Topic, versions []record.Record, now int64) (left, dropped []record.Record) {
	left = slices.Clone(versions)
	for i := 0; i < len(left); {
		var same []record.Record
		at := 0
		for k := range left {
			if left[k].Member == left[i].Member {
				if k == i {
					at = len(same)
				}
				same = append(same, left[k])
			}
		}
		if !record.Droppable(topic, same, at, now) {
			i++
			continue
		}
		dropped = append(dropped, left[i])
		left = slices.Delete(left, i, i+1)
	}
	return left, dropped
}
