package clones

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers/upload"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/record"
)

// Target is a store of another node.
type Target struct {
	inventory.Target        // Free is what its node last said
	Address          string // at which other nodes reach its node

	Readable func() bool // nil: always
	Writable func() bool // nil: always

	Gone func() <-chan struct{} // is closed when the store is gone; nil: nobody tells

	Failed   func() // is told when the store does not answer as it should; may be nil
	Answered func() // is told when it does; may be nil
}

// Remote returns a store of another node, for the uploader.
func (c *Client) Remote(t Target) upload.Store { return &remote{c, t} }

type remote struct {
	client *Client
	at     Target
}

func (s *remote) Target() inventory.Target { return s.at.Target }
func (s *remote) Readable() bool           { return s.at.Readable == nil || s.at.Readable() }
func (s *remote) Writable() bool           { return s.at.Writable == nil || s.at.Writable() }

// createRate is how many bytes a store is expected to reserve in a second.
const createRate = 1e9

// Create begins an upload at the store and a request that its bytes go into.
func (s *remote) Create(ctx context.Context, size int64, t content.Type) (upload.Sink, error) {
	switch {
	case !s.Readable():
		return nil, s.wrap(inventory.ErrOffline)
	case !s.Writable():
		return nil, s.wrap(inventory.ErrReadOnly) // its node knows more, and is not worth asking
	}
	url := join(s.at.Address, UploadPath+rand.Text())
	limit := answerAfter + time.Duration(float64(max(size, 0))/createRate*float64(time.Second))
	asking, cancel := s.asking(ctx, limit)
	defer cancel()
	err := s.client.call(asking, http.MethodPost, url, beginMessage{Store: s.at.ID, Size: size, Type: t.String()}, nil)
	s.heard(ctx, err)
	if err != nil {
		return nil, s.wrap(err)
	}
	k := newSink(context.WithoutCancel(ctx), s, url, size)
	if !s.client.spawn(k.run) {
		return nil, s.wrap(ErrClosed)
	}
	s.client.spawn(k.remind) // not where the client is closing, which ends all
	if s.at.Gone != nil {
		s.client.moveOn(k.ctx, s.at.Gone(), k.Interrupt)
	}
	return k, nil
}

// Open gives a clone's bytes.
func (s *remote) Open(ctx context.Context, c inventory.Clone) (io.ReadCloser, error) {
	if !s.Readable() {
		return nil, s.wrap(inventory.ErrOffline)
	}
	b, err := s.client.Open(ctx, s.at.Address, s.at.ID, c.Hash, 0, c.Size)
	s.heard(ctx, err)
	return b, err
}

// Renew has the store check and keep a clone, and this node know its record.
func (s *remote) Renew(ctx context.Context, h content.Hash) (inventory.Clone, bool, error) {
	if !s.Readable() {
		return inventory.Clone{}, false, s.wrap(inventory.ErrOffline)
	}
	asking, cancel := s.asking(ctx, answerAfter)
	defer cancel()
	var out cloneMessage
	err := s.client.call(asking, http.MethodPost, join(s.at.Address, RenewPath), renewMessage{Store: s.at.ID, Hash: h.String()}, &out)
	s.heard(ctx, err)
	if errors.Is(err, inventory.ErrNotExist) {
		return inventory.Clone{}, false, nil
	}
	if err != nil {
		return inventory.Clone{}, false, s.wrap(err)
	}
	c, err := s.learn(ctx, h, out)
	return c, err == nil, err
}

// learn has this node know the store's inventory record of a content, and
// returns the clone that it tells.
func (s *remote) learn(ctx context.Context, h content.Hash, m cloneMessage) (inventory.Clone, error) {
	if len(m.Records) == 0 || len(m.Records) > maxRecords {
		return inventory.Clone{}, s.wrap(fmt.Errorf("%w: %d versions of a record", ErrAnswer, len(m.Records)))
	}
	for _, v := range m.Records {
		if v.Topic != record.Inventory || v.Key != h.String() || v.Member != s.at.ID {
			return inventory.Clone{}, s.wrap(fmt.Errorf("%w: a record about something else", ErrAnswer))
		}
	}
	c := m.Clone
	if ext, err := content.ParseExt(c.Ext); err != nil || ext != c.Ext || c.Size < 0 {
		return inventory.Clone{}, s.wrap(fmt.Errorf("%w: %w", ErrAnswer, content.ErrInvalidExt))
	}
	c.Hash, c.Store = h, s.at.ID
	if s.client.Importer != nil {
		if err := s.client.Importer.Import(ctx, m.Records); err != nil {
			return inventory.Clone{}, s.wrap(fmt.Errorf("keeping the store's record: %w", err))
		}
	}
	return c, nil
}

func (s *remote) wrap(err error) error { return fmt.Errorf("store %s: %w", s.at.ID, err) }

// heard passes on whether the store answers. What ended with ctx says nothing
// of the store, and one that refuses does answer.
func (s *remote) heard(ctx context.Context, err error) {
	var refused *Refusal
	switch {
	case err == nil || errors.As(err, &refused):
		if s.at.Answered != nil {
			s.at.Answered()
		}
	case ctx.Err() == nil && s.at.Failed != nil:
		s.at.Failed()
	}
}
