package repair

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// slots bound how many clones are made at the same time. How many they are may
// change.
type slots struct {
	mu    sync.Mutex
	taken int
	freed chan struct{} // closed, and made anew, when one is given back
}

func (s *slots) init() { s.freed = make(chan struct{}) }

// take waits until fewer than most() are taken.
func (s *slots) take(ctx context.Context, most func() int) error {
	for {
		s.mu.Lock()
		if s.taken < most() {
			s.taken++
			s.mu.Unlock()
			return nil
		}
		freed := s.freed
		s.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *slots) give() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	close(s.freed)
	s.freed = make(chan struct{})
}

// burst is how many bytes may go at once, whatever the bandwidth: two buffers
// of the pumps, so that waiting costs few wake-ups.
const burst = 1 << 20

// pace bounds bytes per second, and counts them. Its zero value bounds nothing.
type pace struct {
	mu      sync.Mutex
	limiter *rate.Limiter
	bytes   atomic.Int64
	recent  recent
}

// wait waits until n bytes may have gone at a bandwidth, 0 for any.
func (p *pace) wait(ctx context.Context, n int, bandwidth int64) error {
	p.bytes.Add(int64(n))
	p.recent.add(time.Now(), int64(n))
	if bandwidth <= 0 {
		return nil
	}
	p.mu.Lock()
	if p.limiter == nil {
		p.limiter = rate.NewLimiter(rate.Limit(bandwidth), burst)
	}
	l := p.limiter
	if l.Limit() != rate.Limit(bandwidth) {
		l.SetLimit(rate.Limit(bandwidth))
	}
	p.mu.Unlock()
	for n > 0 {
		part := min(n, burst)
		if err := l.WaitN(ctx, part); err != nil {
			return err
		}
		n -= part
	}
	return nil
}

// recentLen is over how many seconds a rate is told.
const recentLen = 10

// recent counts bytes by the second.
type recent struct {
	mu    sync.Mutex
	at    [recentLen]int64 // seconds since 1970
	bytes [recentLen]int64
}

func (r *recent) add(now time.Time, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := now.Unix()
	i := s % recentLen
	if r.at[i] != s {
		r.at[i], r.bytes[i] = s, 0
	}
	r.bytes[i] += n
}

// rate is bytes per second, over the last whole seconds.
func (r *recent) rate(now time.Time) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, sum := now.Unix(), int64(0)
	for i, at := range r.at {
		if at < s && at >= s-(recentLen-1) {
			sum += r.bytes[i]
		}
	}
	return sum / (recentLen - 1)
}

// paced is a body that is read no faster than is allowed.
type paced struct {
	io.Reader
	ctx       context.Context //nolint:containedctx // of the copy that it is the body of
	pace      *pace
	bandwidth func() int64
	done      *atomic.Int64
}

func (p *paced) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if n > 0 {
		p.done.Add(int64(n))
		if err := p.pace.wait(p.ctx, n, p.bandwidth()); err != nil {
			return n, err
		}
	}
	return n, err
}
