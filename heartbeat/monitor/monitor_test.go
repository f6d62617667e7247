package monitor_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/heartbeat"
)

// A node that is killed, or frozen, is down for everybody soon, and available
// for everybody once it answers again.
func TestDetection(t *testing.T) {
	for _, nodes := range []int{2, 3, 7, 100} {
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
				thawed := w.until(one, back, 10*time.Second)
				require.LessOrEqual(t, thawed, 2*time.Second)
				require.True(t, w.agree(w.all, back), "and it votes against nobody")
				t.Logf("down everywhere: killed after %s, frozen after %s; back everywhere: restarted after %s, thawed after %s",
					killed, frozen, restarted, thawed)
			})
		})
	}
}

// Half of a cluster goes at the same moment.
func TestHalfGone(t *testing.T) {
	for _, nodes := range []int{2, 3, 7, 100, 1000} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
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
		})
	}
}

var _ = heartbeat.Up
