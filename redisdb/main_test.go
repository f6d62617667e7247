package redisdb

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/redisdb/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is an engine that runs, with what a test wants of it.
type node struct {
	*Engine
	stop func()
	logs *observer.ObservedLogs
	lag  *lag
}

var prefixes atomic.Int64

// open runs an engine at an address. Its prefix is its own, unless one is given.
func open(t testing.TB, url, source string, change ...func(*Options)) *node {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	opts := Options{URL: url, Source: source, Logger: zap.New(core), patience: 10}
	for _, f := range change {
		f(&opts)
	}
	e, err := Open(opts)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := e.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	n := &node{Engine: e, logs: logs, lag: startLag(t), stop: func() {
		cancel()
		<-done
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}}
	t.Cleanup(n.stop)
	return n
}

// ready waits until an engine follows all tags.
func (n *node) ready(t testing.TB) *node {
	t.Helper()
	redistest.Await(t, func() error {
		select {
		case <-n.follow.ready:
		default:
			return errAway
		}
		for tag := range tags {
			if !n.fresh(tag) || n.states[tag].away.Load() {
				return errAway
			}
		}
		return nil
	})
	return n
}

func fresh(prefix string) func(*Options) { return func(o *Options) { o.Prefix = prefix } }

// own gives a test keys of its own on a server that it shares.
func own(t testing.TB) func(*Options) {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '.'
	}, t.Name())
	return fresh(name[:min(len(name), 40)] + "." + time.Duration(prefixes.Add(1)).String())
}

func put(t testing.TB, e record.Engine, topic record.Topic, key, value string, member ...string) record.Ack {
	t.Helper()
	var ack record.Ack
	redistest.Await(t, func() (err error) {
		ack, err = e.Update(context.Background(), topic, key, record.Condition{}, record.Change{Member: strings.Join(member, ""), Value: []byte(value)})
		return err
	})
	return ack
}

func get(t testing.TB, e record.Engine, topic record.Topic, key string) []record.Record {
	t.Helper()
	var versions []record.Record
	redistest.Await(t, func() (err error) {
		versions, err = e.Get(context.Background(), topic, key)
		return err
	})
	return versions
}

func value(t testing.TB, e record.Engine, topic record.Topic, key string) string {
	t.Helper()
	r, ok := record.Merge(topic, get(t, e, topic, key))
	if !ok {
		return ""
	}
	return string(r.Value)
}

// strict has an engine keep the bounds of time that it promises. Other tests
// stretch them: they are about something else, on machines that are busy.
func strict(o *Options) { o.patience = 1 }

// patient stretches them still more.
func patient(o *Options) { o.patience = 20 }
