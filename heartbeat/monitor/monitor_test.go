package monitor_test

import (
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/heartbeat"
	"github.com/ooseio/oose/heartbeat/monitor"
	"github.com/ooseio/oose/heartbeat/vote"
)

// A node that is killed, or frozen, is down for everybody soon, and available
// for everybody once it answers again. TestLarge has that happen to more nodes.
func TestDetection(t *testing.T) {
	for _, nodes := range []int{2, 3, 7} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nodes)
				w.settle()
				require.True(t, w.agree(w.all, back))
				one := w.all[nodes/2 : nodes/2+1]
				one[0].kill()
				killed := w.until(one, down, 10*time.Second)
				require.LessOrEqual(t, killed, 4*time.Second)
				w.advance(90 * time.Second)
				require.True(t, w.agree(one, down), "votes are said again while they hold")
				one[0].start()
				restarted := w.until(one, back, 10*time.Second)
				require.LessOrEqual(t, restarted, 200*time.Millisecond, "it asks to be probed")
				w.advance(time.Minute)

				one[0].set(func() { one[0].frozen = true })
				frozen := w.until(one, down, 10*time.Second)
				require.LessOrEqual(t, frozen, 5500*time.Millisecond)
				w.advance(10 * time.Second)
				one[0].set(func() { one[0].frozen = false })
				thawed := w.until(w.all, back, 10*time.Second)
				require.LessOrEqual(t, thawed, 2500*time.Millisecond, "and it votes against nobody")
				t.Logf("down everywhere: killed after %s, frozen after %s; back everywhere: restarted after %s, thawed after %s",
					killed, frozen, restarted, thawed)
			})
		})
	}
}

// Half of a cluster goes at the same moment.
func TestHalfGone(t *testing.T) {
	for _, nodes := range []int{2, 3, 7, 100} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) { halfGone(t, nodes) })
	}
}

func halfGone(t *testing.T, nodes int) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nodes)
		w.settle()
		gone := w.all[:nodes/2]
		for _, m := range gone {
			m.kill()
		}
		took := w.until(gone, away, time.Minute)
		require.LessOrEqual(t, took, 20*time.Second)
		require.True(t, w.agree(w.alive(), back), "the others stay")
		t.Logf("all %d are unavailable everywhere after %s", len(gone), took)
	})
}

// What a round costs does not grow with the cluster; for a thousand nodes
// TestLarge looks at it.
func TestCostOfARound(t *testing.T) {
	for _, nodes := range []int{2, 3, 7, 8, 30, 100} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nodes)
				w.settle()
				each := w.messages(10)
				require.LessOrEqual(t, each, 8.0)
				t.Logf("%.2f messages for each node and round", each)
			})
		})
	}
}

// The smaller part of a divided cluster knows that it reaches nobody there, and
// votes nobody of the larger part down; both are whole again when they meet.
func TestPartition(t *testing.T) {
	for _, c := range []struct{ nodes, smaller int }{{3, 1}, {5, 2}, {7, 3}, {40, 13}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, c.nodes)
				w.settle()
				w.mu.Lock()
				w.broken = func(from, to int) bool { return (from < c.smaller) != (to < c.smaller) }
				w.mu.Unlock()
				w.advance(20 * time.Second)
				smaller, larger := w.all[:c.smaller], w.all[c.smaller:]
				for _, m := range larger {
					for _, o := range smaller {
						require.Equal(t, heartbeat.Down, m.standing(o))
					}
					for _, o := range larger {
						require.False(t, m != o && m.standing(o).Away())
					}
				}
				for _, m := range smaller {
					for _, o := range larger {
						// Of a larger cluster some panels lie mostly with the smaller part, for
						// which they are right.
						require.False(t, c.nodes <= vote.PanelSize+1 && m.standing(o) == heartbeat.Down, "a minority decides nothing")
					}
				}
				w.mu.Lock()
				w.broken = func(int, int) bool { return false }
				w.mu.Unlock()
				healed := w.until(w.all, back, 10*time.Second)
				require.LessOrEqual(t, healed, 4*time.Second)
				t.Logf("whole again after %s", healed)
			})
		})
	}
}

// Who is cut off from all doubts itself, and says nothing when it is back.
func TestDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 7)
		w.settle()
		one := w.all[0]
		w.mu.Lock()
		w.broken = func(from, to int) bool { return from == 0 || to == 0 }
		w.mu.Unlock()
		w.until(w.all[:1], func(s heartbeat.Standing) bool { return s == heartbeat.Down || s == heartbeat.Up }, time.Second)
		w.advance(10 * time.Second)
		s := one.monitor.Status()
		require.True(t, s.Doubting)
		require.Zero(t, s.Figures.Cast)
		for _, o := range w.all[1:] {
			require.Equal(t, heartbeat.Unreached, one.standing(o), "it does not ask them for all that")
			require.Equal(t, heartbeat.Down, o.standing(one))
		}
		w.mu.Lock()
		w.broken = func(int, int) bool { return false }
		w.mu.Unlock()
		w.until(w.all, back, 5*time.Second)
		w.advance(2 * time.Second)
		require.False(t, one.monitor.Status().Doubting)
	})
}

// Two that can't reach each other while others reach both stay available to
// these, and are not to each other.
func TestBrokenBetweenTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 7)
		w.settle()
		w.mu.Lock()
		w.broken = func(from, to int) bool { return from+to == 1 }
		w.mu.Unlock()
		w.advance(30 * time.Second)
		require.Equal(t, heartbeat.Unreached, w.all[0].standing(w.all[1]))
		require.Equal(t, heartbeat.Unreached, w.all[1].standing(w.all[0]))
		for _, m := range w.all[2:] {
			require.False(t, m.standing(w.all[0]).Away())
			require.False(t, m.standing(w.all[1]).Away())
		}
	})
}

// Packets are lost, all the time and everywhere: nobody is taken for down for
// longer than a moment, and who is gets found nevertheless. OOSE_SIMULATE=24h
// simulates that long, for the figures in docs/availability.md.
func TestLostPackets(t *testing.T) {
	took, sizes := 3*time.Minute, []int{2, 7}
	if long := os.Getenv("OOSE_SIMULATE"); long != "" {
		var err error
		took, err = time.ParseDuration(long)
		require.NoError(t, err)
		sizes = append(sizes, 100)
	}
	for _, percent := range []int{0, 1, 5, 10, 20} {
		for _, nodes := range sizes {
			t.Run(fmt.Sprint(percent, "% of ", nodes), func(t *testing.T) { lostPackets(t, percent, nodes, took) })
		}
	}
}

func lostPackets(t *testing.T, percent, nodes int, took time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nodes)
		w.spoil(func() { w.loss = float64(percent) / 100 })
		w.settle()
		w.advance(took)
		unreached, down := w.falsely(heartbeat.Unreached), w.falsely(heartbeat.Down)
		days := took.Hours() / 24 * float64(nodes)
		t.Logf("in %s: in a day each node finds %.2f others unreached by itself, and %.2f down by votes",
			took, float64(unreached)/days, float64(down)/days)
		if nodes > 2 {
			require.Zero(t, down, "a majority does not err")
		}
		w.all[1].kill()
		t.Logf("who is gone is down everywhere after %s", w.until(w.all[1:2], away, 15*time.Second))
	})
}

// Who is slow, but answers in time, is not voted against; who answers too late is.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 7)
		slow := func(d time.Duration) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.delay = func(from, to int) time.Duration {
				if from == 0 || to == 0 {
					return d
				}
				return time.Millisecond
			}
		}
		slow(450 * time.Millisecond)
		w.settle()
		w.advance(time.Minute)
		require.True(t, w.agree(w.all, back))
		slow(600 * time.Millisecond)
		w.advance(10 * time.Second)
		require.True(t, w.agree(w.all[:1], down))
	})
}

// Who goes and comes again and again is taken back more slowly each time.
func TestFlapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 5)
		w.settle()
		one := w.all[4]
		for flap := range 4 {
			one.kill()
			w.until(w.all[4:], down, 10*time.Second)
			one.start()
			w.until(w.all[4:], back, 2*time.Second)
			want := heartbeat.Trial
			if flap > 0 {
				want = heartbeat.Held
			}
			require.Equal(t, want, w.all[0].standing(one), "flap %d", flap)
		}
		w.advance(20 * time.Second)
		require.Equal(t, heartbeat.Up, w.all[0].standing(one))
		for _, n := range w.all[0].monitor.Status().Nodes {
			if n.ID == one.id {
				require.Equal(t, 4, n.Flaps)
			}
		}
	})
}

// How stores are comes with the answers.
func TestStoresInAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		one := w.all[1]
		one.set(func() { one.stores = []heartbeat.StoreHealth{{ID: "s", Readable: true, Writable: true}} })
		w.settle()
		health := func() heartbeat.StoreHealth {
			w.all[0].mu.Lock()
			defer w.all[0].mu.Unlock()
			return w.all[0].health.Stores[heartbeat.Carried{Node: one.id, Store: "s"}]
		}
		require.True(t, health().Readable)
		one.set(func() { one.stores = []heartbeat.StoreHealth{{ID: "s", Writable: true}} })
		w.advance(1200 * time.Millisecond)
		require.False(t, health().Readable)
		one.set(func() { one.ready = false })
		w.advance(10 * time.Second)
		require.False(t, w.all[0].standing(one).Away(), "who catches up earns no vote")
	})
}

// A node whose heartbeat is off probes nobody and goes by nothing.
func TestOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4)
		w.settle()
		w.all[3].kill()
		w.until(w.all[3:], down, 10*time.Second)
		one := w.all[0]
		one.set(func() { one.settings.Off = true })
		w.advance(3 * time.Second)
		require.False(t, one.standing(w.all[3]).Away())
		require.False(t, one.monitor.Status().Running)
		require.False(t, w.all[1].standing(one).Away(), "it answers")
		require.Equal(t, heartbeat.Down, w.all[1].standing(w.all[3]), "the two others are enough")
	})
}

// A node that was down and is taken out of the registry is asked and voted about
// no more, and one that joins is.
func TestMembersChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 6)
		w.settle()
		w.all[5].kill()
		w.until(w.all[5:], down, 10*time.Second)
		all := make([]monitor.Node, 0, 6)
		for _, m := range w.all {
			all = append(all, monitor.Node{ID: m.id, Name: m.id})
		}
		change := func(list []monitor.Node) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.nodes = monitor.NewNodes(list)
		}
		change(all[:5])
		w.advance(3 * time.Second)
		for _, m := range w.alive() {
			s := m.monitor.Status()
			require.Len(t, s.Nodes, 4)
			require.False(t, m.standing(w.all[5]).Away(), "nothing is said of a stranger")
		}
		change(all)
		w.until(w.all[5:], down, 10*time.Second)
		change(nil)
		w.advance(3 * time.Second)
		require.Empty(t, w.all[0].monitor.Status().Nodes)
		change(all)
		w.until(w.all[5:], down, 10*time.Second)
	})
}
