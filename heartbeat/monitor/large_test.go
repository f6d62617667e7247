package monitor_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/heartbeat"
)

// Large clusters, in one world each, since a second in the life of a thousand
// nodes takes about as long for a processor, and four times as long with the race
// detector: several nodes are struck at the same time, each in another way, then
// the network is, which the race detector sees with a hundred nodes only.
// `make simulate` runs all of it.
func TestLarge(t *testing.T) {
	for _, nodes := range []int{30, 100, 1000} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &large{world: newWorld(t, nodes)}
				l.advance(defaults.StartDelay)
				each := l.messages(2)
				require.True(t, l.agree(l.all, back))
				require.LessOrEqual(t, each, 8.0, "as in any cluster")
				t.Logf("%.2f messages for each node and round", each)
				l.strike()
				if racing && nodes > 100 {
					return
				}
				l.flap()
				l.part()
				l.lose()
				if nodes < 100 || nodes == 100 && !racing {
					l.halve()
				}
			})
		})
	}
}

type large struct{ *world }

// fault is something that happens to one node, or ends.
type fault struct {
	name string
	one  *member
	took time.Duration // until all agreed; 0: they don't yet
}

// await lets time pass until all agree about each one, and notes when they did.
func (l *large) await(faults []*fault, want func(heartbeat.Standing) bool) {
	l.t.Helper()
	const most = 15 * time.Second
	began := time.Now()
	for open := len(faults); open > 0; {
		l.advance(10 * time.Millisecond)
		require.Less(l.t, time.Since(began), most, "all agree")
		for _, f := range faults {
			if f.took == 0 && l.agree([]*member{f.one}, want) {
				f.took = time.Since(began)
				open--
			}
		}
	}
}

// strike has one node killed, one frozen, one get slow and one be cut off, and
// a link between two others break; then all of that ends.
func (l *large) strike() {
	t := l.t
	n := len(l.all) / 10
	killed, frozen, slow, cut, near := l.all[n], l.all[2*n], l.all[3*n], l.all[4*n], l.all[5*n]
	struck := []*member{killed, frozen, slow, cut}
	far := l.watchedBy(near, struck)
	faults := []*fault{{name: "killed", one: killed}, {name: "frozen", one: frozen}, {name: "slow", one: slow}, {name: "cut off", one: cut}}
	killed.kill()
	frozen.set(func() { frozen.frozen = true })
	l.spoil(func() {
		l.broken = func(from, to int) bool {
			return from == cut.place || to == cut.place || from == near.place && to == far.place || from == far.place && to == near.place
		}
		l.delay = func(from, to int) time.Duration {
			if from == slow.place || to == slow.place {
				return 600 * time.Millisecond // there and back takes longer than a probe may
			}
			return time.Millisecond
		}
	})
	l.apart = []*member{slow, cut} // they reach nobody
	l.await(faults, away)
	for _, f := range faults {
		t.Logf("%s: unavailable everywhere after %s", f.name, f.took)
		require.LessOrEqual(t, f.took, 6*time.Second)
		f.took = 0
	}
	l.advance(time.Second) // so that who noticed by itself has heard the votes
	for _, m := range l.alive() {
		for _, o := range struck {
			require.Equal(t, heartbeat.Down, m.standing(o))
		}
	}
	require.Equal(t, heartbeat.Unreached, near.standing(far), "nobody else takes it for down")

	l.apart = nil
	killed.start()
	frozen.set(func() { frozen.frozen = false })
	l.heal()
	l.await(append(faults, &fault{name: "near", one: far}), back)
	for _, f := range faults {
		t.Logf("%s: available everywhere %s after that ended", f.name, f.took)
	}
}

// flap has the node that was cut off go and come again.
func (l *large) flap() {
	cut := l.all[4*len(l.all)/10]
	l.spoil(func() { l.broken = func(from, to int) bool { return from == cut.place || to == cut.place } })
	l.apart = []*member{cut}
	l.until([]*member{cut}, away, 15*time.Second)
	l.apart = nil
	l.heal()
	l.until(l.all, back, 10*time.Second)
	require.Equal(l.t, heartbeat.Held, l.all[0].standing(cut), "it is asked last")
}

// watchedBy is a node that another one probes, and none of these.
func (l *large) watchedBy(m *member, but []*member) *member {
	for _, n := range m.monitor.Status().Nodes {
		other := l.byID[n.ID]
		for _, b := range but {
			if b == other {
				other = nil
			}
		}
		if n.Watched && other != nil {
			return other
		}
	}
	l.t.Fatal("a node watches nobody")
	return nil
}

// heal has the network be as it was.
func (l *large) heal() {
	l.spoil(func() {
		l.broken = func(int, int) bool { return false }
		l.delay = func(int, int) time.Duration { return time.Millisecond }
		l.loss = 0
	})
}

// part cuts a twentieth of the nodes off: the others take them, and nobody
// else, for down.
func (l *large) part() {
	t := l.t
	few := len(l.all) / 20
	smaller, larger := l.all[:few], l.all[few:]
	l.spoil(func() { l.broken = func(from, to int) bool { return (from < few) != (to < few) } })
	began := time.Now()
	for _, m := range larger {
		for m.disagrees(smaller, down) != nil {
			require.Less(t, time.Since(began), 20*time.Second)
			l.advance(10 * time.Millisecond)
		}
	}
	t.Logf("%d of %d cut off: down at all others after %s", few, len(l.all), time.Since(began))
	for _, m := range larger {
		require.Nil(t, m.disagrees(larger, back))
	}
	l.heal()
	t.Logf("whole again after %s", l.until(l.all, back, 15*time.Second))
}

// lose has every fifth packet be lost: nobody is taken for down but who is.
func (l *large) lose() {
	t := l.t
	before := l.falsely(heartbeat.Down)
	l.spoil(func() { l.loss = 0.2 })
	l.advance(4 * time.Second)
	require.Equal(t, before, l.falsely(heartbeat.Down))
	one := l.all[len(l.all)/2 : len(l.all)/2+1]
	one[0].kill()
	t.Logf("killed while a fifth of the packets is lost: unavailable everywhere after %s", l.until(one, away, 15*time.Second))
}

// halve cuts the cluster into two halves: each goes on with the nodes that it
// has, and asks none of the others.
func (l *large) halve() {
	t := l.t
	l.heal()
	l.all[len(l.all)/2].start()
	l.until(l.all, back, 15*time.Second)
	half := len(l.all) / 2
	one, two := l.all[:half], l.all[half:]
	l.spoil(func() { l.broken = func(from, to int) bool { return (from < half) != (to < half) } })
	began := time.Now()
	for _, side := range [][2][]*member{{one, two}, {two, one}} {
		for _, m := range side[0] {
			for m.disagrees(side[1], away) != nil {
				require.Less(t, time.Since(began), 30*time.Second)
				l.advance(10 * time.Millisecond)
			}
		}
	}
	t.Logf("cut into halves: each takes the other for unavailable after %s", time.Since(began))
	l.advance(5 * time.Second)
	for _, side := range [][]*member{one, two} {
		for _, m := range side {
			require.Nil(t, m.disagrees(side, back))
		}
	}
	l.heal()
	t.Logf("whole again after %s", l.until(l.all, back, 15*time.Second))
}
