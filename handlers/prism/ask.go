package prism

import (
	"context"
	"errors"
	"time"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/ask"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/record"
)

// Bounds of asking other nodes for one request.
const (
	askTime    = 2250 * time.Millisecond // for one question, which says after 2 s who has not answered
	askMax     = 30 * time.Second        // for all of a request's, whatever it wants
	askAgain   = 10                      // questions after the first
	askPause   = 250 * time.Millisecond  // between two
	askedAbout = 256                     // contents of one question
)

// find returns where a content is. About one that no record places anywhere,
// other nodes are asked.
func (h *Handler) find(ctx context.Context, hash content.Hash) (*inventory.Placement, error) {
	p, err := h.Index.Find(ctx, hash)
	if err != nil || h.Content == nil || !unplaced(p) {
		return p, err
	}
	if err := h.Content(ctx, hash); err != nil {
		return nil, err
	}
	return h.Index.Find(ctx, hash)
}

// unplaced tells whether other nodes may know more about a content.
func unplaced(p *inventory.Placement) bool { return len(p.Clones) == 0 && !p.Blocked }

// inquiry is how a request about contents asks other nodes: in all for this
// long, and about each portion so often again.
type inquiry struct {
	h     *Handler
	until time.Time
	again int
}

// inquire reads what a request says about it.
func (h *Handler) inquire(q *handlers.HashQuery) *inquiry {
	long := askMax
	if ms := q.Timeout.Value; ms > 0 {
		long = time.Duration(min(ms, askMax.Milliseconds())) * time.Millisecond
	}
	return &inquiry{h: h, until: time.Now().Add(long), again: int(min(q.Retries.Value, askAgain))}
}

// places returns where contents are, nil for the zero hash. Other nodes are
// asked about those that no record places anywhere, about all of them with one
// question. A node that is away holds nothing that could be had now, so that its
// silence is a no here; where another one is not sure, nobody knows.
func (q *inquiry) places(ctx context.Context, hashes []content.Hash) ([]*inventory.Placement, error) {
	placements := make([]*inventory.Placement, len(hashes))
	var doubt error // that the last question left
	for again := 0; ; again++ {
		missing, err := q.read(ctx, hashes, placements)
		if err != nil || len(missing) == 0 || q.h.Content == nil || q.h.Contents == nil {
			return placements, err
		}
		if again > q.again || again > 0 && !q.pause(ctx) {
			return placements, doubt
		}
		if !time.Now().Before(q.until) {
			return nil, late()
		}
		if doubt = q.ask(ctx, missing, again > 0); doubt != nil && !errors.Is(doubt, record.ErrUnavailable) {
			return nil, doubt
		}
	}
}

// read looks up what has no place yet, and returns what has none then.
func (q *inquiry) read(ctx context.Context, hashes []content.Hash, placements []*inventory.Placement) (missing []content.Hash, err error) {
	for i, hash := range hashes {
		if hash.IsZero() || placements[i] != nil && !unplaced(placements[i]) {
			continue
		}
		if placements[i], err = q.h.Index.Find(ctx, hash); err != nil {
			return nil, err
		}
		if unplaced(placements[i]) {
			missing = append(missing, hash)
		}
	}
	return missing, nil
}

// ask asks once. Its error is a record.ErrUnavailable where somebody may know
// more.
func (q *inquiry) ask(ctx context.Context, missing []content.Hash, anew bool) error {
	limited, cancel := context.WithDeadline(ctx, earlier(q.until, time.Now().Add(askTime)))
	defer cancel()
	var err error
	if len(missing) == 1 && !anew {
		err = q.h.Content(limited, missing[0])
	} else {
		err = q.h.Contents(limited, missing)
	}
	switch {
	case errors.Is(err, ask.ErrAway):
		return nil
	case err != nil && limited.Err() != nil && ctx.Err() == nil:
		return late()
	}
	return err
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// late is the fault where the time was over before others had answered.
func late() error {
	f := handlers.Faultf(handlers.Unavailable, "Other nodes, which may know more, have not answered in time: try again, or allow a longer timeout").Because(record.ErrUnavailable)
	f.Retry = time.Second
	return f
}

// pause waits before the next question. It reports false where there is no
// time for one.
func (q *inquiry) pause(ctx context.Context) bool {
	if time.Until(q.until) <= askPause {
		return false
	}
	timer := time.NewTimer(askPause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
