package redisdb

import (
	"sync"
	"testing"
	"time"
)

// bound is what no request may take, whatever Redis does.
const bound = 300 * time.Millisecond

// lag measures how late this process gets to run on a busy machine: by so much
// a call may seem to take longer than it does.
type lag struct {
	mu   sync.Mutex
	late []lateness
}

type lateness struct {
	at time.Time
	by time.Duration
}

const lagEvery = 10 * time.Millisecond

// startLag measures until the test ends.
func startLag(t testing.TB) *lag {
	l := &lag{}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			due := time.Now().Add(lagEvery)
			pause := time.NewTimer(lagEvery)
			select {
			case <-pause.C:
			case <-stop:
				pause.Stop()
				return
			}
			if by := time.Since(due); by > lagEvery {
				l.mu.Lock()
				l.late = append(l.late, lateness{time.Now(), by})
				l.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
	})
	return l
}

// since adds up how late everything was since began.
func (l *lag) since(began time.Time) (sum time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := len(l.late) - 1; i >= 0 && l.late[i].at.After(began); i-- {
		sum += l.late[i].by
	}
	return sum
}

// check fails the test where what began then has taken too long.
func (l *lag) check(t testing.TB, what string, began time.Time) {
	t.Helper()
	took := time.Since(began)
	if took <= bound {
		return
	}
	pause := time.NewTimer(5 * lagEvery) // who measures may be late as well
	<-pause.C
	if late := l.since(began); took > bound+late {
		t.Errorf("%s took %s, of which this machine was busy for %s", what, took, late)
	}
}

// timed runs f and fails the test where it takes too long.
func (n *node) timed(t testing.TB, what string, f func() error) error {
	t.Helper()
	began := time.Now()
	err := f()
	n.lag.check(t, what, began)
	return err
}
