package journal

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"pgregory.net/rapid"

	"github.com/ooseio/oose/record"
)

// member is one node of a cluster in one process.
type member struct {
	*running
	name     string
	wall     *wallClock
	dir      string
	lives    int             // databases it has had
	revoked  map[string]bool // tokens that it knew to be revoked
	restored *restored       // from an old copy, and not compared with all others yet
	copies   []oldCopy
}

type oldCopy struct {
	dir    string
	source string
	head   uint64
}

// restored is what a database is that was restored.
type restored struct{ head uint64 }

// cluster is what a model test does things to.
type cluster struct {
	rt      *rapid.T
	t       *testing.T
	base    string
	made    int
	members []*member
	links   []*faulty
	tapes   []tape
	truth   map[string][]record.Record // by record key: all that was written and acknowledged, in order
	gone    map[string]uint64          // by record key: up to here it may be dropped, as of a former owner
	swept   bool                       // things expired
	renewed bool                       // a member went on as a new source
	forked  map[string]bool            // sources that somebody followed over a gap, see docs/replication.md
	calm    bool                       // all comes to rest between two steps
	sources []string                   // in the order in which they came to be
}

// faulty is a link that may end after some bytes.
type faulty struct {
	*link
	to, from *member
	source   string
	ended    bool
}

// tape is a stream that was kept, to be played again.
type tape struct {
	source, server string
	stream         []byte
}

func newCluster(rt *rapid.T, t *testing.T, base string, nodes int) *cluster {
	c := &cluster{rt: rt, t: t, base: base, truth: make(map[string][]record.Record), gone: make(map[string]uint64), forked: make(map[string]bool)}
	for i := range nodes {
		m := &member{name: fmt.Sprint("n", i), wall: newWallClock()}
		c.members = append(c.members, m)
		c.begin(m, c.folder())
	}
	return c
}

func (c *cluster) folder() string {
	c.made++
	return filepath.Join(c.base, fmt.Sprint(c.made))
}

// begin starts a member on a database.
func (c *cluster) begin(m *member, dir string) {
	j, err := Open(Options{Dir: dir, Clock: record.NewClock(m.wall.time), Logger: zap.NewNop(), CacheSize: 4, Cluster: true, every: time.Hour, Ballast: -1})
	require.NoError(c.rt, err)
	m.dir = dir
	m.running = &running{Journal: j, tb: c.t, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	m.end = cancel
	c.note(m)
	go func(r *running) {
		defer close(r.done)
		_ = j.Run(ctx)
	}(m.running)
}

// note remembers a member's source: their names are random, their order is not.
func (c *cluster) note(m *member) {
	if !slices.Contains(c.sources, m.Source()) {
		c.sources = append(c.sources, m.Source())
	}
}

// known lists the sources of which a member knows.
func (c *cluster) known(m *member) []string {
	claims := m.Claims()
	var known []string
	for _, source := range c.sources {
		if _, ok := claims[source]; ok {
			known = append(known, source)
		}
	}
	return known
}

func (c *cluster) close() {
	for _, l := range c.links {
		l.cut()
	}
	for _, m := range c.members {
		m.end()
		<-m.done
		_ = m.Close()
	}
}

// connect has one member follow a source at another, until limit bytes have
// come (0: for good).
func (c *cluster) connect(to, from *member, source string, limit int) {
	ctx, cancel := context.WithCancel(context.Background())
	l := &faulty{link: &link{cancel: cancel}, to: to, from: from, source: source}
	r, w := io.Pipe()
	since := to.Since(source, from.name)
	l.done.Go(func() {
		err := from.Journal.Stream(ctx, source, since, writerFunc(func(b []byte) (int, error) {
			if limit > 0 {
				if limit -= len(b); limit <= 0 {
					_, _ = w.Write(b[:len(b)+limit])
					return 0, errCut
				}
			}
			return w.Write(b)
		}), nil)
		_ = w.CloseWithError(errCut)
		l.setErrors(nil, err)
	})
	l.done.Go(func() {
		err := to.Journal.Follow(ctx, source, from.name, r, nil)
		cancel()
		_ = r.CloseWithError(io.ErrClosedPipe)
		l.setErrors(err, nil)
	})
	c.links = append(c.links, l)
}

func (l *faulty) setErrors(follow, stream error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if follow != nil {
		l.err, l.ended = follow, true
	}
	if stream != nil {
		l.served = stream
	}
}

// cutOff ends all links of a member.
func (c *cluster) cutOff(m *member) {
	kept := c.links[:0]
	for _, l := range c.links {
		if l.to == m || l.from == m {
			l.cut()
			continue
		}
		kept = append(kept, l)
	}
	c.links = kept
}

// crash has a member end as if killed, and begin again from what is on its disk.
func (c *cluster) crash(m *member) {
	c.cutOff(m)
	synctest.Wait()
	before := m.walk()
	dir := c.folder()
	snapshot(c.t, m.dir, dir)
	c.stop(m)
	c.begin(m, dir)
	require.Equal(c.rt, bySource(before), bySource(m.walk()), "a crash loses nothing")
}

func (c *cluster) stop(m *member) {
	m.end()
	<-m.done
	require.NoError(c.rt, m.Close())
	require.NoError(c.rt, os.RemoveAll(m.dir))
}

// lose takes a member's disk away.
func (c *cluster) lose(m *member) {
	c.cutOff(m)
	c.stop(m)
	m.lives++
	m.revoked, m.restored, m.copies = nil, nil, nil
	c.begin(m, c.folder())
}

// keep makes a copy of a member's database for later.
func (c *cluster) keep(m *member) {
	synctest.Wait()
	if m.Head() == 0 {
		return
	}
	one := oldCopy{dir: c.folder(), source: m.Source(), head: m.Head()}
	snapshot(c.t, m.dir, one.dir)
	m.copies = append(m.copies, one)
}

// restore begins a member from an old copy. It meets nobody until it has
// compared itself with the others.
func (c *cluster) restore(m *member, one oldCopy) {
	c.cutOff(m)
	c.stop(m)
	m.revoked = nil
	m.lives++
	c.tapes = nil
	dir := c.folder()
	snapshot(c.t, one.dir, dir)
	c.begin(m, dir)
	m.restored = &restored{head: one.head}
}

// encounter has two members do what nodes do when they meet: what others know
// more of them, they do not hear.
func (c *cluster) encounter(a, b *member) {
	c.compare(a, b)
	c.compare(b, a)
}

// compare has a restored member do what a node does when it meets others.
func (c *cluster) compare(m *member, others ...*member) {
	if m.restored == nil {
		return
	}
	source, head := m.Source(), m.restored.head
	lost := func(r record.Record) bool { return r.Source == source && r.Revision > head }
	knows := func(other *member) bool { return other != m && m.Ahead(other.state(source).head) }
	ahead := slices.ContainsFunc(others, knows)
	if !ahead && slices.ContainsFunc(c.members, knows) {
		c.forked[source] = true
		c.forget(func(r record.Record) bool { return r.Source == source })
		return
	}
	m.restored = nil
	if ahead {
		require.NoError(c.rt, m.Renew(context.Background()))
		c.note(m)
		c.renewed = true
	} else {
		c.forget(lost) // what it had written once is nowhere
	}
	for _, r := range m.walk() {
		if r.Source == m.Source() && (ahead || lost(r)) {
			c.remember(r)
		}
	}
}

func (c *cluster) remember(r record.Record) {
	if c.forked[r.Source] {
		return
	}
	key := string(recordKey(&r))
	c.truth[key] = append(c.truth[key], r)
}

func (c *cluster) forget(gone func(record.Record) bool) {
	for key, all := range c.truth {
		var kept []record.Record
		for _, r := range all {
			if !gone(r) {
				kept = append(kept, r)
			}
		}
		c.truth[key] = kept
	}
}

// meet has those that were restored compare themselves with all others.
func (c *cluster) meet() {
	for _, m := range c.members {
		c.cutOff(m)
	}
	for _, m := range c.members {
		c.compare(m, c.members...)
	}
}

// heal lets everybody follow everything from everybody until nothing more
// comes, and all clocks be one.
func (c *cluster) heal() {
	var latest time.Time
	for _, m := range c.members {
		if now := m.wall.time(); now.After(latest) {
			latest = now
		}
	}
	for range 8 {
		c.mesh()
		synctest.Wait()
	}
	for _, l := range c.links {
		l.mu.Lock()
		require.False(c.rt, l.ended, "%s follows %s: %v, %v", l.to.name, l.from.name, l.err, l.served)
		l.mu.Unlock()
	}
	for _, m := range c.members {
		m.wall.set(latest)
	}
	for _, m := range c.members {
		m.sweep()
	}
	synctest.Wait()
}

// mesh makes all links that are missing.
func (c *cluster) mesh() {
	have := make(map[string]bool)
	kept := c.links[:0]
	for _, l := range c.links {
		l.mu.Lock()
		ended := l.ended
		l.mu.Unlock()
		if ended {
			l.cut()
			continue
		}
		kept = append(kept, l)
		have[fmt.Sprint(l.to.name, l.from.name, l.source)] = true
	}
	c.links = kept
	for _, to := range c.members {
		for _, from := range c.members {
			for _, source := range c.known(from) {
				if to != from && source != to.Source() && !have[fmt.Sprint(to.name, from.name, source)] {
					c.connect(to, from, source, 0)
				}
			}
		}
	}
}

// play has a member follow a stream of former times.
func (c *cluster) play(m *member, one tape, bytesOf int) {
	if one.source == m.Source() {
		return
	}
	err := m.Follow(context.Background(), one.source, one.server, bytes.NewReader(one.stream[:bytesOf]), nil)
	require.Error(c.rt, err)
}
