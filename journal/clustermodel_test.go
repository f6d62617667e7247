package journal

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ooseio/oose/record"
)

// bubbled hides from rapid what may not be asked in a bubble.
type bubbled struct{ testing.TB }

// TestCluster does at random what may happen to nodes that follow one another:
// changes, streams that begin and break off anywhere, relays, old streams
// played again, crashes, lost disks, databases restored from old copies,
// clocks that jump, tombstones that are dropped, and what former owners wrote. However it went: a claim is
// never above what is known, nothing revoked works again, and when all reach
// one another they have all that one of them had, and say the same.
func TestCluster(t *testing.T) {
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		require.NoError(t, f.Value.Set("12")) // each opens many databases
		defer func() { require.NoError(t, f.Value.Set(f.DefValue)) }()
	}
	base := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(bubbled{t}, func(rt *rapid.T) {
			dir, err := os.MkdirTemp(base, "")
			require.NoError(rt, err)
			c := newCluster(rt, t, dir, rapid.IntRange(2, 4).Draw(rt, "nodes"))
			c.calm = rapid.Bool().Draw(rt, "calm")
			defer func() {
				c.close()
				_ = os.RemoveAll(dir)
			}()
			rt.Repeat(map[string]func(*rapid.T){
				"update":  c.update,
				"change":  c.update,
				"write":   c.update,
				"link":    c.link,
				"connect": c.link,
				"cut":     c.cut,
				"disturb": c.disturb,
				"restore": c.setBack,
				"tape":    c.tape,
				"import":  c.ask,
				"clock":   c.jump,
				"time":    c.advance,
				"drop":    c.drop,
				"heal":    c.converge,
				"":        func(*rapid.T) { c.check() },
			})
			c.converge(rt)
			c.check()
		})
	})
}

func (c *cluster) pick(rt *rapid.T, label string) *member {
	return c.members[rapid.IntRange(0, len(c.members)-1).Draw(rt, label)]
}

// update has a member write. Inventory and peers have one writer at a time,
// whom the member's or the peer's name tells; the others have any.
func (c *cluster) update(rt *rapid.T) {
	m := c.pick(rt, "member")
	topic := rapid.SampledFrom([]record.Topic{record.Purchase, record.Inventory, record.Inventory, record.User, record.Peer}).Draw(rt, "topic")
	key := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "key")
	change := record.Change{Value: []byte(rapid.StringN(1, 3, 12).Draw(rt, "value"))}
	own := fmt.Sprint(m.name, "-", m.lives)
	switch topic {
	case record.Inventory:
		change.Member = own
	case record.Peer:
		key = own
	case record.Purchase:
		if key == "b" {
			change.Expires = newWallClock().time().Add(48 * time.Hour).UnixMilli()
		}
		merged, _ := record.Merge(topic, m.get(topic, key))
		change.Final = rapid.IntRange(0, 3).Draw(rt, "final") == 0 || merged.Final
	}
	if topic != record.Purchase && rapid.IntRange(0, 2).Draw(rt, "delete") == 0 {
		change.Delete, change.Value = true, nil
	}
	_, err := m.Update(context.Background(), topic, key, record.Condition{}, change)
	require.NoError(rt, err)
	for _, r := range m.get(topic, key) {
		if r.Source == m.Source() && r.Member == change.Member {
			c.remember(r)
		}
	}
}

func (c *cluster) link(rt *rapid.T) {
	to, from := c.pick(rt, "to"), c.pick(rt, "from")
	source := rapid.SampledFrom(c.known(from)).Draw(rt, "source")
	c.encounter(to, from)
	limit := rapid.SampledFrom([]int{0, 0, 0, 60, 100, 150, 300, 600}).Draw(rt, "limit")
	if to != from && source != to.Source() {
		c.connect(to, from, source, limit)
	}
	c.pause(rt)
}

// pause lets things come to rest, mostly.
func (c *cluster) pause(rt *rapid.T) {
	if c.calm || rapid.Bool().Draw(rt, "pause") {
		synctest.Wait()
	}
}

func (c *cluster) cut(rt *rapid.T) {
	if len(c.links) == 0 {
		return
	}
	i := rapid.IntRange(0, len(c.links)-1).Draw(rt, "link")
	c.links[i].cut()
	c.links = append(c.links[:i], c.links[i+1:]...)
}

// disturb has something bad happen to a member.
func (c *cluster) disturb(rt *rapid.T) {
	m := c.pick(rt, "member")
	switch what := rapid.IntRange(0, 5).Draw(rt, "what"); {
	case what < 3:
		c.crash(m)
	case what < 5:
		c.keep(m)
	default:
		c.lose(m)
	}
}

// setBack restores a member from an old copy, where there is one.
func (c *cluster) setBack(rt *rapid.T) {
	m := c.pick(rt, "member")
	if len(m.copies) == 0 {
		c.keep(m)
		return
	}
	c.restore(m, m.copies[rapid.IntRange(0, len(m.copies)-1).Draw(rt, "copy")])
}

func (c *cluster) tape(rt *rapid.T) {
	from, to := c.pick(rt, "from"), c.pick(rt, "to")
	if rapid.Bool().Draw(rt, "record") || len(c.tapes) == 0 {
		c.encounter(from, to)
		source := rapid.SampledFrom(c.known(from)).Draw(rt, "source")
		since := to.Since(source, from.name)
		if source != from.Source() || !from.Ahead(since) {
			c.tapes = append(c.tapes, tape{source, from.name, wire(c.t, from.running, source, since)})
		}
		return
	}
	one := c.tapes[rapid.IntRange(0, len(c.tapes)-1).Draw(rt, "tape")]
	length := len(one.stream)
	if rapid.Bool().Draw(rt, "broken") {
		length = rapid.IntRange(0, length).Draw(rt, "length")
	}
	c.play(to, one, length)
}

// ask has a member import what another knows under a key.
func (c *cluster) ask(rt *rapid.T) {
	to, from := c.pick(rt, "to"), c.pick(rt, "from")
	c.encounter(to, from)
	topic := rapid.SampledFrom([]record.Topic{record.Purchase, record.Inventory, record.User}).Draw(rt, "topic")
	key := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "key")
	require.NoError(rt, to.Import(context.Background(), from.get(topic, key)))
}

// drop has a member drop what a former owner wrote; sooner or later all do.
func (c *cluster) drop(rt *rapid.T) {
	m := c.pick(rt, "member")
	for _, r := range m.walk() {
		key := identity(&r)
		if r.Topic == record.Inventory && (c.gone[key] >= r.Revision || rapid.IntRange(0, 4).Draw(rt, "former") == 0) {
			c.gone[key] = max(c.gone[key], r.Revision)
			_, err := m.Drop(context.Background(), []record.Record{r})
			require.NoError(rt, err)
		}
	}
}

// dropAll has all drop what one may have dropped.
func (c *cluster) dropAll() {
	for _, m := range c.members {
		for _, r := range m.walk() {
			if r.Revision <= c.gone[identity(&r)] {
				_, err := m.Drop(context.Background(), []record.Record{r})
				require.NoError(c.rt, err)
			}
		}
	}
}

// jump sets one member's clock.
func (c *cluster) jump(rt *rapid.T) {
	m := c.pick(rt, "member")
	m.wall.advance(time.Duration(rapid.IntRange(-180, 180).Draw(rt, "minutes")) * time.Minute)
}

// advance lets time pass, mostly so much that tombstones go, and has some
// members remove what is due.
func (c *cluster) advance(rt *rapid.T) {
	d := time.Duration(rapid.SampledFrom([]int{8 * 24, 8 * 24, 8 * 24, 25, 33 * 24}).Draw(rt, "hours")) * time.Hour
	c.swept = true
	for _, m := range c.members {
		m.wall.advance(d)
		if rapid.IntRange(0, 2).Draw(rt, "sweep") > 0 {
			m.sweep()
		}
	}
}

func (c *cluster) converge(rt *rapid.T) {
	kept := c.survivors()
	c.heal()
	c.dropAll()
	first := c.members[0]
	for _, m := range c.members {
		for topic, digest := range first.Digests() {
			// Where all versions of a purchase went at once they went for each
			// node by itself: one that had not heard of a revocation did so earlier.
			if (topic != record.Purchase || !c.swept) && !(record.Tombstones(topic) && c.split && c.swept) && digest != m.Digests()[topic] {
				c.failf("%s and %s differ about %s\n%s\n%s", first.name, m.name, topic, describe(first, topic), describe(m, topic))
			}
		}
		for _, topic := range []record.Topic{record.Purchase, record.Inventory, record.User, record.Peer} {
			if record.Tombstones(topic) && c.split && c.swept {
				// Now two sources may have written one of them: who was cut off
				// for weeks may have dropped the tombstone of what it had not heard of.
				continue
			}
			require.Equal(rt, merged(first, topic), merged(m, topic), "%s and %s on %s", first.name, m.name, topic)
		}
		for _, r := range kept {
			if c.mustStay(r) && !m.continues(r) {
				c.failf("%s has lost what one had: %s/%s at %d of %s\n%s", m.name, r.Topic, r.Key, r.Revision, r.Source, describe(m, r.Topic))
			}
		}
	}
}

// describe tells what a member has of a topic, for the reader of a failure.
func describe(m *member, topic record.Topic) string {
	text := fmt.Sprintln(m.name, "is", short(m.Source()))
	for source, s := range m.knowledge() {
		text += fmt.Sprintln(" source", short(source), "head", s.head, "claim", s.claim, "dropped", s.dropped, "leaps", s.leaps)
	}
	for _, r := range m.walk() {
		if r.Topic == topic {
			text += fmt.Sprintln(" ", short(r.Source), r.Revision, r.Key, r.Member, "deleted", r.Deleted, "at", time.UnixMilli(r.Time.Milli()).UTC())
		}
	}
	return text
}

// short is a source's name for the reader.
func short(source string) string { return source[:4] + source[min(len(source), 26):] }

// continues tells whether a member has a version, or one that took its place.
func (m *member) continues(r record.Record) bool {
	known := m.knowledge()
	for _, v := range m.get(r.Topic, r.Key) {
		if v.Member == r.Member && rootOf(v.Source) == rootOf(r.Source) && v.Revision >= r.Revision && descends(v.Source, known[v.Source], r.Revision) {
			return true
		}
	}
	return false
}

// merged is what a member says under all keys of a topic.
func merged(m *member, topic record.Topic) map[string]string {
	say := make(map[string]string)
	byKey := make(map[string][]record.Record)
	for _, r := range m.walk() {
		if r.Topic == topic {
			id := r.Key + "/" + r.Member
			byKey[id] = append(byKey[id], r)
		}
	}
	for id, versions := range byKey {
		if r, ok := record.Merge(topic, versions); ok {
			say[id] = fmt.Sprint(r.Source, r.Revision, string(r.Value), r.Final)
		}
	}
	return say
}

// survivors is the newest of each record that any member has.
func (c *cluster) survivors() map[string]record.Record {
	newest := make(map[string]record.Record)
	for _, m := range c.members {
		for _, r := range m.walk() {
			key := string(recordKey(&r))
			if r.Revision > newest[key].Revision {
				newest[key] = r
			}
		}
	}
	return newest
}

// mustStay tells whether a version that somebody had must still be there: it
// was not removed, did not expire, and nobody knows of a later one.
func (c *cluster) mustStay(r record.Record) bool {
	if r.Deleted || r.Expires > 0 && c.swept || r.Revision <= c.gone[identity(&r)] {
		return false
	}
	for _, later := range c.truth[identity(&r)] {
		if later.Revision > r.Revision && slices.ContainsFunc(c.members, func(m *member) bool { return m.replaced(later.Revision, r.Revision) }) {
			return false
		}
	}
	return true
}

// replaced tells whether a member knew, under whatever name, a later revision
// that takes the place of an older one.
func (m *member) replaced(later, older uint64) bool {
	for source, s := range m.knowledge() {
		if later <= max(s.head, s.claim) && owns(source, s, later) && descends(source, s, older) {
			return true
		}
	}
	return false
}

// check holds at any time.
func (c *cluster) check() {
	if c.calm {
		synctest.Wait()
	}
	for _, m := range c.members {
		known := m.knowledge() // before the records: they may come meanwhile
		have := make(map[string][]record.Record)
		for _, r := range m.walk() {
			have[identity(&r)] = append(have[identity(&r)], r)
		}
		for id, all := range c.truth {
			for source, s := range known {
				if rootOf(source) == rootOf(all[0].Source) {
					c.checkClaim(m, source, s, all, have[id])
				}
			}
		}
		c.checkRevoked(m)
	}
}

// checkClaim: of what the claim covers the node has the latest, or it is gone
// by right, and then nothing older is there.
func (c *cluster) checkClaim(m *member, source string, s state, all, have []record.Record) {
	var latest, has record.Record
	for _, r := range all {
		if r.Revision <= s.claim && owns(source, s, r.Revision) && r.Revision > latest.Revision {
			latest = r
		}
	}
	for _, r := range have {
		if r.Source == source {
			has = r
		}
	}
	if latest.Revision == 0 || has.Revision >= latest.Revision {
		return
	}
	// While starting over, what was removed goes before the claim moves.
	removed := slices.ContainsFunc(all, func(r record.Record) bool { return r.Deleted && r.Revision >= latest.Revision })
	dropped := c.gone[identity(&latest)] >= latest.Revision
	replaced := slices.ContainsFunc(all, func(r record.Record) bool {
		return r.Revision > latest.Revision && m.replaced(r.Revision, latest.Revision)
	}) || m.continues(latest)
	gone := removed && record.Tombstones(latest.Topic) || latest.Expires > 0 && c.swept || dropped
	if !gone && !replaced {
		c.failf("%s claims %d of %s and lacks %s/%s at %d\n%s", m.name, s.claim, short(source), latest.Topic, latest.Key, latest.Revision, describe(m, latest.Topic))
	}
	if (latest.Deleted || dropped) && has.Revision > 0 {
		c.failf("%s has %s/%s at %d, which was removed at %d\n%s", m.name, latest.Topic, latest.Key, has.Revision, latest.Revision, describe(m, latest.Topic))
	}
}

// failf says it at once: what can't be reproduced is not said later.
func (c *cluster) failf(format string, args ...any) {
	c.t.Logf(format, args...)
	c.rt.Fatalf(format, args...)
}

// checkRevoked: what a node once knew to be revoked does not work there again.
func (c *cluster) checkRevoked(m *member) {
	if m.revoked == nil {
		m.revoked = make(map[string]bool)
	}
	for _, key := range []string{"a", "b", "c"} {
		r, ok := record.Merge(record.Purchase, m.get(record.Purchase, key))
		works := ok && !r.Final && (r.Expires == 0 || r.Expires > m.wall.time().UnixMilli())
		if m.revoked[key] {
			require.False(c.rt, works, "%s lets %s work again", m.name, key)
		}
		m.revoked[key] = m.revoked[key] || ok && r.Final
	}
}
