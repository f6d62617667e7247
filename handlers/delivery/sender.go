package delivery

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/ooseio/oose/handlers/delivery/serve"
	"github.com/ooseio/oose/inventory"
)

// Sender sends contents for other roles, wherever their clones are.
type Sender struct{ core core }

// NewSender returns a Sender. Of deps it needs Stores and Registry, and what
// there is of Elsewhere, Cache, FirstBytes, Self, Loosen, Metrics and Log.
func NewSender(deps Deps) *Sender { return &Sender{newCore(deps, Settings{})} }

// Fetch returns what gives a whole content of this size, from an offset to its
// end, from stores elsewhere: for a cache, as pull.Cache wants it.
func (s *Sender) Fetch(p *inventory.Placement, size int64) func(ctx context.Context, offset int64) (io.ReadCloser, error) {
	return s.core.fetch(p, size)
}

// Send answers with a content as RFC 9110 has it. Of info it fills in all but
// Ext, CacheControl and Refuse. A store that fails is followed by the next one
// from that very byte; a response that can't be finished ends in
// panic(http.ErrAbortHandler). Its errors are serve.ErrUnreadable, with nothing
// written, and that of info.Refuse.
func (s *Sender) Send(w http.ResponseWriter, r *http.Request, p *inventory.Placement, info serve.Info) error {
	if len(p.Clones) == 0 || p.Blocked {
		return unreadable(errNoCandidate)
	}
	_, err := s.core.deliver(w, r, p, s.core.candidates(p), &info, nil)
	if errors.Is(err, serve.ErrBroken) {
		return abortBroken(err)
	}
	return err
}
