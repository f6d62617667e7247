package clones

import (
	"context"
	"io"
	"sync/atomic"

	"github.com/ooseio/oose/content"
)

// A store that hangs never fails a request where another one is always asked
// after a moment and answers first: nobody waits until it has failed. Nor does
// it fail by being slow. So a store that was overtaken some times in a row, and
// gave no byte meanwhile, is asked last and examined: it is asked for one byte
// more, which nobody waits for, and has as long for it as any other request. Who
// fails that has failed a request; who is slow, but gives it, is as good as ever.

// overtakes is how often in a row a store is overtaken before it is examined.
const overtakes = 3

// doubt is what being overtaken has come to. The zero doubt is none.
type doubt struct {
	row       int32 // times in a row
	examining bool
}

// event is what happens to a store that bears on doubt.
type event uint8

const (
	lost   event = iota // it was overtaken
	gave                // it gave a first byte to somebody
	passed              // it gave the byte that it was examined by
	failed              // it did not
)

// after decides what comes of an event; examine is true where an examination is
// to begin. Who failed one is examined anew as soon as it is overtaken again.
func (d doubt) after(e event) (next doubt, examine bool) {
	switch e {
	case lost:
		d.row = min(d.row+1, overtakes)
		examine = d.row == overtakes && !d.examining
		d.examining = d.examining || examine
	case gave:
		d.row = 0
	case passed:
		d = doubt{}
	case failed:
		d = doubt{row: overtakes - 1}
	}
	return d, examine
}

// doubts is the doubt about one store, for many requests at the same time.
type doubts struct{ now atomic.Pointer[doubt] }

// note takes in an event.
func (d *doubts) note(e event) (examine bool) {
	for {
		old := d.now.Load()
		was := doubt{}
		if old != nil {
			was = *old
		}
		next, examine := was.after(e)
		if next == was || d.now.CompareAndSwap(old, &next) {
			return examine
		}
	}
}

// examined tells whether an examination is under way.
func (d *doubts) examined() bool {
	now := d.now.Load()
	return now != nil && now.examining
}

// doubtsOf is the doubt about a store; nil where it was never overtaken.
func (s *Source) doubtsOf(store string) *doubts {
	if d, ok := s.doubts.Load(store); ok {
		return d.(*doubts) //nolint:forcetypeassert // nothing else is in it
	}
	return nil
}

// Overtaken is delivery.Elsewhere's.
func (s *Source) Overtaken(store string, h content.Hash) {
	d := s.doubtsOf(store)
	if d == nil {
		v, _ := s.doubts.LoadOrStore(store, new(doubts))
		d = v.(*doubts) //nolint:forcetypeassert // nothing else is in it
	}
	if !d.note(lost) {
		return
	}
	asked := s.client.spawn(func() {
		err := s.examine(store, h)
		if answers(err) {
			d.note(passed)
			return
		}
		s.Failed(store, err) // before it may be chosen again
		d.note(failed)
	})
	if !asked {
		d.note(passed) // the client is closing
	}
}

// examine asks a store for a content's first byte. It ends when the client closes.
func (s *Source) examine(store string, h content.Hash) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	s.client.moveOn(ctx, s.client.closing, cancel)
	body, err := s.Open(ctx, store, h, 0, 1)
	if err == nil {
		_, err = io.ReadFull(body, make([]byte, 1))
		_ = body.Close() // it was only read
	}
	if closed(s.client.closing) {
		return nil // it says nothing about the store
	}
	return err
}
