package monitor_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// A node that stops watching another while its probes of it hang takes it for
// nothing: it would not notice that it answers again. So when one of those who
// watch a node goes, that node is cut off meanwhile, and the watcher comes back
// at any moment of that, all are available to all once the node is reached again.
func TestWatchersChangeWhileProbesHang(t *testing.T) {
	for i := range 90 {
		ms, who := 2600+i/9*100, 1+i%9
		t.Run(fmt.Sprint(who, "after", ms), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 10)
				w.settle()
				one, watcher := w.all[0], w.all[who]
				watcher.kill()
				w.until([]*member{watcher}, down, 10*time.Second)
				w.spoil(func() { w.broken = func(from, to int) bool { return from == one.place || to == one.place } })
				w.advance(time.Duration(ms) * time.Millisecond)
				watcher.start()
				w.advance(100 * time.Millisecond)
				w.spoil(func() { w.broken = func(from, to int) bool { return false } })
				w.until(w.all, back, 30*time.Second)
			})
		})
	}
}
