package redisdb

import (
	"context"
	"crypto/tls"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// bounds say what one request can wait for. A caller is answered after answer
// at the latest; the rest fits into it.
type bounds struct {
	answer  time.Duration // from the call to its answer
	call    time.Duration // all that is asked of Redis for it, tries again included
	read    time.Duration // one answer, where the context gives more
	dial    time.Duration // a connection; who wanted it does not wait for so long
	lookup  time.Duration // a sentinel's answer: there is time for a second one
	bulk    time.Duration // a part of a long import: nobody's request waits for it
	refresh time.Duration // what the follower has read
	probe   time.Duration // what the follower asks: a hiccup of Redis is no absence
}

func newBounds(patience time.Duration) bounds {
	return bounds{
		answer:  patience * 250 * time.Millisecond,
		call:    patience * 200 * time.Millisecond,
		read:    patience * 300 * time.Millisecond,
		dial:    patience * 500 * time.Millisecond,
		lookup:  patience * 90 * time.Millisecond,
		bulk:    patience * time.Second,
		refresh: patience * 2 * time.Second,
		probe:   patience * 400 * time.Millisecond,
	}
}

const (
	maxRedirects = 3  // of what a Cluster has moved
	dataConns    = 64 // for requests
	controlConns = 8  // for the committer, the follower and upkeep
)

// link is a way to Redis: the servers that hold the tags, and a pool of
// connections to each.
type link struct {
	universal redis.UniversalClient
	cluster   *redis.ClusterClient // nil: one server holds all
	one       *redis.Client
}

// dial makes a link. It connects to nothing.
func dial(a *address, secure *tls.Config, within bounds, conns int) *link {
	// It would write to standard error, addresses and all; what matters comes as an error.
	logging.Disable()
	opts := &redis.UniversalOptions{
		Addrs:      slices.Clone(a.hosts), // the client appends to it
		ClientName: "oose",
		DB:         a.db,
		// Protocol 3 brings nothing here, and not all services speak it.
		Protocol: 2,
		Username: a.user, Password: a.password,
		SentinelUsername: a.sentinelUser, SentinelPassword: a.sentinelPassword,
		MasterName:               a.master,
		TLSConfig:                secure,
		MaxRetries:               -1, // we try again ourselves, within the bound
		MaxRedirects:             maxRedirects,
		DialTimeout:              within.dial,
		DialerRetries:            1,
		ReadTimeout:              within.read,
		WriteTimeout:             within.read,
		PoolTimeout:              within.call,
		ContextTimeoutEnabled:    true,
		PoolSize:                 conns,
		PipelinePoolSize:         -1,
		ConnMaxLifetime:          5 * time.Minute, // a name may lead elsewhere by then
		ConnMaxLifetimeJitter:    time.Minute,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	switch a.mode {
	case cluster:
		o := opts.Cluster()
		o.ClusterStateReloadInterval = 10 * time.Second
		c := redis.NewClusterClient(o)
		return &link{universal: c, cluster: c}
	case sentinels:
		o := opts.Failover()
		o.ReadTimeout, o.WriteTimeout = within.lookup, within.lookup
		c := redis.NewFailoverClient(o)
		return &link{universal: c, one: c.WithTimeout(within.read)}
	default:
		c := redis.NewClient(opts.Simple())
		return &link{universal: c, one: c}
	}
}

// client returns the client of the server that holds a tag.
func (l *link) client(ctx context.Context, tag int) (*redis.Client, error) {
	if l.cluster == nil {
		return l.one, nil
	}
	return l.cluster.MasterForKey(ctx, tagText(tag))
}

// group sorts tags by the servers that hold them. Those whose server is not
// known are under nil.
func (l *link) group(ctx context.Context, tags []int) map[*redis.Client][]int {
	groups := make(map[*redis.Client][]int, 1)
	for _, tag := range tags {
		c, err := l.client(ctx, tag)
		if err != nil {
			c = nil
		}
		groups[c] = append(groups[c], tag)
	}
	return groups
}

// lost has a Cluster's layout read again: a tag's server did not answer, or
// sent us elsewhere.
func (l *link) lost(ctx context.Context) {
	if l.cluster != nil {
		l.cluster.ReloadState(ctx)
	}
}

// any is for keys without a tag.
func (l *link) any() redis.Cmdable {
	if l.cluster != nil {
		return l.cluster
	}
	return l.one
}

func (l *link) close() error { return l.universal.Close() }

// pipelined asks for several things at once. Where a connection can't be used,
// because its login was refused, or there are too many, the client says so for
// the whole, and leaves each command looking as if it had been answered with
// nothing: here each has the error.
func pipelined(ctx context.Context, c redis.Cmdable, add func(redis.Pipeliner)) error {
	cmds, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		add(p)
		return nil
	})
	if err == nil {
		return nil
	}
	for _, cmd := range cmds {
		if cmd.Err() != nil {
			return err
		}
	}
	for _, cmd := range cmds {
		cmd.SetErr(err)
	}
	return err
}
