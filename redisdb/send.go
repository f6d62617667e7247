package redisdb

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ooseio/oose/record"
)

// What scripts answer first.
const (
	replyNot = iota
	replyDone
	replyBehind
	replyUnreadable
	replyNone = -1
)

func newWriter() string { return strings.ToLower(rand.Text()[:12]) }

// send runs ops, each server's in one pipeline, and tries again within the
// bound what may be gone in a moment. A server that does not answer delays the
// ops of the others by no more than the bound.
func (e *Engine) send(ctx context.Context, ops []*op) {
	ctx, cancel := context.WithTimeout(ctx, e.within.call)
	defer cancel()
	for wait := 10 * time.Millisecond; len(ops) > 0; wait *= 2 {
		e.sendOnce(ctx, ops)
		again, now := ops[:0:0], true
		for _, o := range ops {
			if o.again {
				again = append(again, o)
				now = now && isNoScript(o.err)
			}
		}
		ops = again
		if len(ops) == 0 || now {
			continue
		}
		e.control.lost(ctx)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

func (e *Engine) sendOnce(ctx context.Context, ops []*op) {
	groups := make(map[*redis.Client][]*op, 1)
	for _, o := range ops {
		o.reply, o.err, o.again = nil, nil, false
		if e.states[o.tag].away.Load() && o.kind != refreshOp {
			o.err = errAway
			continue
		}
		c, err := e.control.client(ctx, o.tag)
		if err != nil {
			o.err = err
			e.failed(o.tag, err)
			continue
		}
		groups[c] = append(groups[c], o)
	}
	if len(groups) == 1 {
		for c, group := range groups {
			e.pipeline(ctx, c, group)
		}
		return
	}
	var all sync.WaitGroup
	for c, group := range groups {
		all.Go(func() { e.pipeline(ctx, c, group) })
	}
	all.Wait()
}

// pipeline runs ops on one server.
func (e *Engine) pipeline(ctx context.Context, c *redis.Client, ops []*op) {
	cmds := make([]*redis.Cmd, len(ops))
	_ = pipelined(ctx, c, func(p redis.Pipeliner) {
		for i, o := range ops {
			s, args := e.arguments(o)
			name, body := "evalsha", s.sha
			if o.plain {
				name, body = "eval", s.text
			}
			cmds[i] = p.Do(ctx, append([]any{name, body}, args...)...)
		}
	})
	answered := false
	for i, o := range ops {
		o.err = cmds[i].Err()
		answered = answered || o.err == nil || isReply(o.err)
		if moved(o.err) && e.control.cluster != nil {
			// Part of a slot may be elsewhere while it moves: the client knows the dance.
			e.control.lost(ctx)
			cmd := redis.NewCmd(ctx, cmds[i].Args()...)
			o.err = e.control.cluster.Process(ctx, cmd)
			cmds[i] = cmd
		}
		if o.err == nil {
			o.reply, _ = cmds[i].Val().([]any)
			e.answered(o.tag)
			continue
		}
		if isNoScript(o.err) {
			o.again, o.plain = !o.plain, true
			continue
		}
		o.again = retryable(o.err) && ctx.Err() == nil
		o.maybe = o.maybe || mayBeMade(o.err)
		if !isReply(o.err) {
			e.failed(o.tag, o.err)
		}
	}
	if !answered && e.mode == cluster {
		e.silent(ctx, c, ops[0].err)
	}
}

// silent has all tags of a Cluster's server away, until the follower hears of
// it again: the next batch must not wait for it at the cost of the others.
func (e *Engine) silent(ctx context.Context, c *redis.Client, err error) {
	if !e.follow.running.Load() {
		return
	}
	for tag := range tags {
		if of, err2 := e.control.client(ctx, tag); err2 == nil && of == c {
			e.markAway(tag, err)
		}
	}
	e.follow.call()
}

// arguments returns the script of an op, with all that follows its name.
func (e *Engine) arguments(o *op) (script, []any) {
	l, tag := e.layout, o.tag
	at := l.records(o.topic, o.key)
	if o.kind == refreshOp {
		return e.scripts.read, []any{2, at, l.changes(tag)}
	}
	if o.kind == goneOp {
		return e.scripts.gone, []any{4, at, l.changes(tag), l.keys(tag, o.topic), l.member(tag, o.put.Member),
			string(o.topic), o.key, streamLength, fieldOf(o.put.Member, o.put.Source), fieldOf(o.put.Member, ""), o.put.Revision}
	}
	members := make([]string, 0, len(o.changes)+1)
	for i := range o.changes {
		if o.changes[i].Member != "" {
			members = append(members, o.changes[i].Member)
		}
	}
	if o.put.Member != "" {
		members = append(members, o.put.Member)
	}
	source, writer := e.source, e.commits.writer+":"+strconv.FormatUint(o.number, 10)
	if o.kind == putOp {
		source, writer = o.put.Source, ""
	}
	args := make([]any, 0, 24+len(members)+5*len(o.changes))
	args = append(args, 5+len(members), at, l.changes(tag), l.heads(tag), l.keys(tag, o.topic), l.due(tag))
	for _, m := range members {
		args = append(args, l.member(tag, m))
	}
	args = append(args, string(o.topic), o.key, source, writer, keepKind(o.topic), record.KeepExpired.Milliseconds(),
		record.KeepFinal.Milliseconds(), record.KeepTombstone.Milliseconds(), streamLength, inlineBytes)
	if o.kind == putOp {
		return e.scripts.put, append(args, fieldOf(o.put.Member, o.put.Source), encodeVersion(&o.put))
	}
	noneLive, stillThere, as := o.cond.Parts()
	cond := "a"
	if noneLive {
		cond = "n"
	} else if stillThere {
		cond = "u"
	}
	args = append(args, cond, as.Milli(), uint64(as)&0xffff, o.at.Milli(), uint64(o.at)&0xffff, o.revision)
	for _, c := range o.changes {
		args = append(args, fieldOf(c.Member, source), c.Member, c.Expires, flagsOf(c.Delete, c.Final), c.Value)
	}
	return e.scripts.update, args
}

func keepKind(topic record.Topic) string {
	switch {
	case record.Expiring(topic):
		return "e"
	case record.Tombstones(topic):
		return "t"
	}
	return "-"
}

// code is the first of what a script answered.
func code(reply []any) int {
	if len(reply) == 0 {
		return replyNone
	}
	if n, ok := reply[0].(int64); ok {
		return int(n)
	}
	return replyNone
}

func text(reply []any, i int) string {
	if i >= len(reply) {
		return ""
	}
	s, _ := reply[i].(string)
	return s
}

// pairs is a hash within an answer.
func pairs(reply []any, i int) map[string]string {
	if i >= len(reply) {
		return nil
	}
	list, _ := reply[i].([]any)
	m := make(map[string]string, len(list)/2)
	for k := 0; k+1 < len(list); k += 2 {
		m[text(list, k)] = text(list, k+1)
	}
	return m
}

func parseTime(milli, count string) (record.Time, error) {
	ms, err1 := parseNumber(milli)
	n, err2 := parseNumber(count)
	if err1 != nil || err2 != nil || ms >= maxMilli || n > 0xffff {
		return 0, errVersion
	}
	return record.Time(ms<<16 | n), nil
}

// isReply tells whether Redis answered, though with an error.
func isReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}

func isNoScript(err error) bool { return err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") }

func moved(err error) bool {
	if err == nil {
		return false
	}
	_, m := redis.IsMovedError(err)
	_, a := redis.IsAskError(err)
	return m || a
}

// retryable tells whether the next attempt may do better: a connection that
// was closed since it was last used, a server that changes its role.
func retryable(err error) bool {
	if isReply(err) {
		return redis.IsReadOnlyError(err) || redis.IsLoadingError(err) || redis.IsClusterDownError(err) ||
			redis.IsTryAgainError(err) || redis.IsMasterDownError(err) || moved(err) || strings.Contains(err.Error(), "READONLY")
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, errAway) {
		return false
	}
	var netErr net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &netErr) && !netErr.Timeout()
}

// mayBeMade tells whether an update that failed in this way may have been made.
func mayBeMade(err error) bool {
	var dialing *net.OpError
	if errors.As(err, &dialing) && dialing.Op == "dial" {
		return false
	}
	return !isReply(err) && !errors.Is(err, errAway) && !errors.Is(err, redis.ErrPoolTimeout)
}

// unavailable is what callers get. A deadline that was ours must not look like theirs.
func unavailable(err error) error {
	if errors.Is(err, record.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: redis: %v", record.ErrUnavailable, err)
}
