package delivery

import (
	"context"
	"io"

	"github.com/ooseio/oose/inventory"
)

// fetch returns what gives the whole content to a cache: from stores elsewhere,
// going on with the next where one fails.
func (c *core) fetch(p *inventory.Placement, size int64) func(context.Context, int64) (io.ReadCloser, error) {
	return func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		s := &stream{open: opener{core: c, ctx: ctx, placement: p, size: size}, at: offset}
		s.open.state().noCache = true
		if err := s.reopen(); err != nil {
			s.open.close()
			return nil, err
		}
		return s, nil
	}
}

// stream reads a content from one store after the other.
type stream struct {
	open opener
	body io.ReadCloser
	at   int64
}

func (s *stream) reopen() error {
	if s.at == s.open.size {
		return nil
	}
	body, err := s.open.next(s.at, s.open.size)
	s.body = body
	return err
}

// Read reads on; a store that fails is followed by another at that byte.
func (s *stream) Read(p []byte) (int, error) {
	for {
		if s.at >= s.open.size {
			return 0, io.EOF
		}
		n, err := s.body.Read(p[:min(int64(len(p)), s.open.size-s.at)])
		s.at += int64(n)
		if n > 0 || err == nil {
			return n, nil
		}
		if err == io.EOF { //nolint:errorlint // the body's own end
			err = io.ErrUnexpectedEOF
		}
		s.open.failed(err)
		_ = s.body.Close() // the error is worth more
		s.body = nil
		if err := s.reopen(); err != nil {
			return 0, err
		}
	}
}

func (s *stream) Close() error {
	defer s.open.close()
	if s.body == nil {
		return nil
	}
	return s.body.Close()
}
