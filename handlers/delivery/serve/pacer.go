package serve

import (
	"context"
	"time"
)

// pacer keeps one response to a rate. The zero pacer does not limit.
type pacer struct {
	rate int64 // bytes a second, 0 for no limit
	next time.Time
}

// piecesPerSecond is how smoothly a limited response flows.
const piecesPerSecond = 4

// piece returns how many of the bytes left to send at once; where a limited
// piece holds several of the server's chunks, it is a whole number of them.
func (p *pacer) piece(left, chunk int64) int64 {
	if p.rate == 0 {
		return left
	}
	n := max(p.rate/piecesPerSecond, 1)
	if chunk > 0 && n > chunk {
		n -= n % chunk
	}
	return min(n, left)
}

// wait waits until n more bytes may be sent. What a slow client did not use is
// lost to it, but for a second's worth.
func (p *pacer) wait(ctx context.Context, n int64) error {
	if p.rate == 0 {
		return nil
	}
	now := time.Now()
	if p.next.Before(now.Add(-time.Second)) {
		p.next = now
	}
	if d := p.next.Sub(now); d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p.next = p.next.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
	return nil
}
