package journal

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
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
	name    string
	wall    *wallClock
	dir     string
	lives   int             // databases it has had
	revoked map[string]bool // tokens that it knew to be revoked
	copies  []string        // of its database, by folder
}

// cluster is what a model test does things to.
type cluster struct {
	rt      *rapid.T
	t       *testing.T
	base    string
	made    int
	members []*member
	links   []*faulty
	tapes   []tape
	truth   map[string][]record.Record // by identity: all that was written and acknowledged
	gone    map[string]uint64          // by identity: up to here it may be dropped, as of a former owner
	swept   bool                       // things expired
	split   bool                       // a source was
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
	c := &cluster{rt: rt, t: t, base: base, truth: make(map[string][]record.Record), gone: make(map[string]uint64)}
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

// note remembers the sources that a member knows: their names are random, their
// order is not, but for branches that come to be at once.
func (c *cluster) note(m *member) {
	if !slices.Contains(c.sources, m.Source()) {
		c.sources = append(c.sources, m.Source())
	}
	for _, source := range m.Sources() {
		if _, _, branch := parseBranch(source); branch && !slices.Contains(c.sources, source) {
			c.sources, c.split = append(c.sources, source), true
		}
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
	m.revoked, m.copies = nil, nil
	c.begin(m, c.folder())
}

// keep makes a copy of a member's database for later.
func (c *cluster) keep(m *member) {
	synctest.Wait()
	if m.Head() == 0 {
		return
	}
	dir := c.folder()
	snapshot(c.t, m.dir, dir)
	m.copies = append(m.copies, dir)
}

// restore begins a member from an old copy.
func (c *cluster) restore(m *member, copied string) {
	c.cutOff(m)
	c.stop(m)
	m.revoked = nil
	m.lives++
	dir := c.folder()
	snapshot(c.t, copied, dir)
	c.begin(m, dir)
}

// encounter has two members do what nodes do when they meet: each reads what
// the other has.
func (c *cluster) encounter(a, b *member) {
	c.hear(a, b)
	c.hear(b, a)
}

func (c *cluster) hear(m, other *member) {
	if m == other {
		return
	}
	require.NoError(c.rt, m.Part(context.Background(), other.Catalogue()))
	c.note(m)
}

// identity is what all versions of one record have in common that one node
// wrote, under whatever name.
func identity(r *record.Record) string {
	whole := *r
	whole.Source = rootOf(r.Source)
	return string(recordKey(&whole))
}

func (c *cluster) remember(r record.Record) {
	c.truth[identity(&r)] = append(c.truth[identity(&r)], r)
}

// knowledge is what a member knows of each source.
func (m *member) knowledge() map[string]state {
	m.committed.mu.Lock()
	defer m.committed.mu.Unlock()
	return maps.Clone(m.committed.sources)
}

// descends tells whether a revision is of a source's own past, or its own.
func descends(source string, s state, revision uint64) bool {
	return !s.leaps.within(revision)
}

// owns tells whether a revision is kept under the name of a source.
func owns(source string, s state, revision uint64) bool {
	_, began, _ := parseBranch(source)
	return revision > began && descends(source, s, revision)
}

// heal lets everybody follow everything from everybody until nothing more
// comes, and all clocks be one.
func (c *cluster) heal() {
	for _, m := range c.members {
		c.cutOff(m)
	}
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
		c.note(to)
		for _, from := range c.members {
			c.hear(to, from)
		}
	}
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
