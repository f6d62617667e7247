package prism

import (
	"context"
	"errors"
	"time"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/record"
)

// Bounds of asking other nodes for one request.
const (
	askTime    = 2 * time.Second        // in which one question is answered
	askMax     = 30 * time.Second       // for all of a request's, whatever it wants
	askAgain   = 10                     // questions after the first
	askPause   = 250 * time.Millisecond // between two
	askedAbout = 256                    // contents of one question
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
// long, and so often again.
type inquiry struct {
	h     *Handler
	until time.Time
	again int
}

// inquire reads what a request says about it.
func (h *Handler) inquire(q *handlers.HashQuery) *inquiry {
	again := int(min(q.Retries.Value, askAgain))
	long := askTime * time.Duration(1+again)
	if ms := q.Timeout.Value; ms > 0 {
		long = time.Duration(min(ms, askMax.Milliseconds())) * time.Millisecond
	}
	return &inquiry{h: h, until: time.Now().Add(min(long, askMax)), again: again}
}

// places returns where contents are, nil for the zero hash. Other nodes are
// asked about those that no record places anywhere, about all of them with one
// question. A node that can't be asked holds nothing that could be had now, so
// that its silence is a no here.
func (q *inquiry) places(ctx context.Context, hashes []content.Hash) ([]*inventory.Placement, error) {
	placements := make([]*inventory.Placement, len(hashes))
	for again := 0; ; again++ {
		missing, err := q.read(ctx, hashes, placements)
		if err != nil || len(missing) == 0 || again > q.again || q.h.Content == nil || q.h.Contents == nil {
			return placements, err
		}
		if again > 0 && !q.pause(ctx) || !time.Now().Before(q.until) {
			return placements, nil
		}
		if err := q.ask(ctx, missing, again > 0); err != nil {
			return nil, err
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

// ask asks once. It fails only where there is no room for a question.
func (q *inquiry) ask(ctx context.Context, missing []content.Hash, anew bool) error {
	limited, cancel := context.WithDeadline(ctx, q.until)
	defer cancel()
	var err error
	if len(missing) == 1 && !anew {
		err = q.h.Content(limited, missing[0])
	} else {
		err = q.h.Contents(limited, missing)
	}
	if errors.Is(err, record.ErrUnavailable) || limited.Err() != nil && ctx.Err() == nil {
		return nil
	}
	return err
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
