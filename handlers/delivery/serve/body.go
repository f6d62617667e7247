package serve

import (
	"io"
	"os"
)

// next replaces the body, which failed with cause, by another that begins at
// offset.
func (s *sender) next(offset int64, cause error) error {
	if s.info.Failed != nil {
		s.info.Failed(cause)
	}
	return s.reopen(offset)
}

func (s *sender) reopen(offset int64) error {
	s.closeBody()
	s.file = nil
	if s.info.Next == nil {
		return ErrBroken
	}
	body, err := s.info.Next(offset, s.end)
	if err != nil {
		return err
	}
	s.body, s.offset = body, offset
	s.file = fileOf(body)
	return nil
}

// Filer is what a body implements that is a file with something to do on Close.
type Filer interface{ File() *os.File }

func fileOf(body io.ReadCloser) *os.File {
	switch b := body.(type) {
	case *os.File:
		return b
	case Filer:
		return b.File()
	}
	return nil
}

// leastRead is how many bytes a body that is no file is waited for, before what
// came is handed on.
const leastRead = 32 << 10

// readAt reads from the body in use at a position of the content. Where that is
// a file, fewer bytes than asked for come with an error, which is never io.EOF;
// another body may give fewer.
func (s *sender) readAt(p []byte, pos int64) (int, error) {
	var n int
	var err error
	switch {
	case s.file != nil:
		n, err = s.file.ReadAt(p, pos)
	case s.body == nil:
		return 0, ErrUnreadable
	default:
		if pos != s.offset {
			if err := s.reopen(pos); err != nil {
				return 0, err
			}
			return s.readAt(p, pos)
		}
		n, err = io.ReadAtLeast(s.body, p, min(len(p), leastRead))
		s.offset += int64(n)
		if err == nil {
			return n, nil
		}
	}
	if n == len(p) {
		return n, nil
	}
	if err == io.EOF || err == nil {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// probe tells whether the file can still be read at a position.
func (s *sender) probe(pos int64) error {
	if pos >= s.info.Size {
		return nil
	}
	var b [1]byte
	_, err := s.readAt(b[:], pos)
	return err
}

// copyPiece sends a piece through a pooled buffer; see sendPiece.
func (s *sender) copyPiece(p span) (n int64, srcErr, err error) {
	buf := largeBuffers.Get().(*[largeBuffer]byte)
	defer largeBuffers.Put(buf)
	for p.start+n < p.end {
		part := buf[:min(int64(len(buf)), p.end-p.start-n)]
		read, srcErr := s.readAt(part, p.start+n)
		if read > 0 {
			wrote, err := s.w.Write(part[:read])
			n += int64(wrote)
			if err != nil {
				return n, nil, errGone
			}
		}
		if srcErr != nil {
			return n, srcErr, nil
		}
	}
	return n, nil, nil
}
