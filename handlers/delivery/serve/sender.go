package serve

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
)

const (
	// smallBody is up to which length in bytes a body is read before the header
	// is written, and leaves in one write: cheaper than sendfile's set-up.
	smallBody = 64 << 10
	// largeBuffer is what a body that can't go by sendfile is copied through.
	largeBuffer = 256 << 10
)

var (
	smallBuffers = sync.Pool{New: func() any { return new([smallBody]byte) }}
	largeBuffers = sync.Pool{New: func() any { return new([largeBuffer]byte) }}
)

// errGone says that the client takes no more.
var errGone = errors.New("client gone")

// sender sends spans of one content in one response.
type sender struct {
	w    http.ResponseWriter
	r    *http.Request
	info *Info
	pace pacer
	sent int64

	file   *os.File      // the body in use, where it is a file
	body   io.ReadCloser // the body that Next opened, a file or not; to be closed
	offset int64         // where body is, when it is no file
	end    int64         // of the span that is being sent

	readFrom io.ReaderFrom // the response's, where sendfile may come of it
	chunk    int64         // see Loosen
	undo     func()
}

func (s *sender) close() {
	if s.undo != nil {
		s.undo()
	}
	s.closeBody()
}

func (s *sender) closeBody() {
	if s.body != nil {
		_ = s.body.Close() // it was only read
		s.body = nil
	}
}

// single answers with one span of the content.
func (s *sender) single(status int, sp span, head bool) error {
	if head {
		s.w.WriteHeader(status)
		return nil
	}
	if sp.length() <= smallBody && s.pace.rate == 0 {
		return s.small(status, sp)
	}
	s.begin()
	s.w.WriteHeader(status)
	return s.finish(s.copySpan(sp))
}

// begin prepares for a body that takes longer than a moment.
func (s *sender) begin() {
	if s.info.Loosen != nil {
		s.chunk, s.undo = s.info.Loosen(s.r)
	}
	if s.r.TLS == nil && s.r.ProtoMajor == 1 {
		s.readFrom, _ = s.w.(io.ReaderFrom)
	}
}

// finish turns a client that went away into no error.
func (s *sender) finish(err error) error {
	if err == errGone {
		return nil
	}
	return err
}

// small reads the whole span, from whichever clone can be read, and then writes
// header and body at once.
func (s *sender) small(status int, sp span) error {
	buf := smallBuffers.Get().(*[smallBody]byte)
	defer smallBuffers.Put(buf)
	p := buf[:sp.length()]
	s.end = sp.end
	for done := 0; done < len(p); {
		n, err := s.readAt(p[done:], sp.start+int64(done))
		done += n
		if done < len(p) && err != nil {
			if s.next(sp.start+int64(done), err) != nil {
				clearBody(s.w.Header())
				return ErrUnreadable
			}
		}
	}
	s.w.WriteHeader(status)
	n, _ := s.w.Write(p)
	s.sent += int64(n)
	return nil
}

// clearBody takes back what was said of a body that does not come.
func clearBody(h http.Header) {
	for _, k := range [...]string{"Accept-Ranges", "Content-Disposition", "Content-Length", "Content-Range", "Content-Security-Policy", "Content-Type", "Etag"} {
		delete(h, k)
	}
}

// copySpan sends a span, continuing with the next clone where one fails.
func (s *sender) copySpan(sp span) error {
	s.end = sp.end
	for sp.start < sp.end {
		piece := span{sp.start, sp.start + s.pace.piece(sp.length(), s.chunk)}
		if err := s.pace.wait(s.r.Context(), piece.length()); err != nil {
			return errGone
		}
		n, srcErr, err := s.sendPiece(piece)
		sp.start += n
		s.sent += n
		if err != nil {
			return err
		}
		if srcErr != nil {
			if s.r.Context().Err() != nil {
				return errGone // which ends a body from elsewhere as well
			}
			if s.next(sp.start, srcErr) != nil {
				return ErrBroken
			}
		}
		if s.pace.rate > 0 {
			_ = http.NewResponseController(s.w).Flush() // what can't be flushed leaves later
		}
	}
	return nil
}

// sendPiece sends what it can of one piece: n bytes of it. srcErr says that the
// body failed, err that the response can't go on.
func (s *sender) sendPiece(p span) (n int64, srcErr, err error) {
	if s.readFrom == nil || s.file == nil {
		return s.copyPiece(p)
	}
	// Only whole chunks may go by sendfile, unless the file itself ends the piece.
	direct := p
	if s.chunk > 0 && p.end != s.info.Size {
		direct.end = p.start + p.length()/s.chunk*s.chunk
	}
	if direct.length() == 0 {
		return s.copyPiece(p)
	}
	n, srcErr, err = s.sendFile(direct)
	if srcErr != nil || err != nil || direct.end == p.end {
		return n, srcErr, err
	}
	tail, srcErr, err := s.copyPiece(span{direct.end, p.end})
	return n + tail, srcErr, err
}

// sendFile has the connection send a piece of the file by itself.
func (s *sender) sendFile(p span) (n int64, srcErr, err error) {
	if _, err := s.file.Seek(p.start, io.SeekStart); err != nil {
		return 0, err, nil
	}
	if s.sent == 0 {
		// With the header gone, none of the body passes through a buffer.
		_ = http.NewResponseController(s.w).Flush()
	}
	sec := section{file: s.file, pos: p.start, end: p.end, chunk: s.chunk, toEOF: p.end == s.info.Size}
	if s.chunk > 0 {
		_, err = s.readFrom.ReadFrom(&sec)
	} else {
		_, err = s.readFrom.ReadFrom(&io.LimitedReader{R: &sec, N: p.length()})
	}
	n = sec.pos - p.start
	switch {
	case sec.err == errOvershoot:
		return p.length(), nil, ErrBroken
	case sec.err != nil:
		return n, sec.err, nil
	case err != nil:
		// sendfile does not tell whose error it is: the file is asked.
		if s.r.Context().Err() == nil {
			if srcErr := s.probe(sec.pos); srcErr != nil {
				return n, srcErr, nil
			}
		}
		return n, nil, errGone
	case n < p.length():
		return n, io.ErrUnexpectedEOF, nil
	}
	return n, nil, nil
}
