package serve

import (
	"errors"
	"io"
	"os"
	"syscall"
)

var (
	errTail      = errors.New("what is left of the section is less than a chunk")
	errOvershoot = errors.New("more than the section was sent")
)

// section is a part of a file that a connection may send by itself.
//
// net sends an *os.File, or an io.LimitedReader around one, by sendfile. A web
// server between that hands on pieces (Caddy, so that its idle timeout is set
// anew for each) wraps what it is given in one more io.LimitedReader, and net
// looks through one alone. So a section is no LimitedReader: it offers the
// file's own SyscallConn for as long as a whole piece lies within it, and bounds
// its Read for the rest. The file's position is the section's: sendfile moves
// it.
type section struct {
	file     *os.File // positioned at pos
	pos, end int64
	chunk    int64 // the pieces that SyscallConn's user sends, 0: it is bounded otherwise
	toEOF    bool  // the section ends where the file does, and so does sendfile
	err      error // of reading the file, or errOvershoot
}

// Read reads from the section. A file that ends before the section does is an
// error.
func (s *section) Read(p []byte) (int, error) {
	left := s.end - s.pos
	if left <= 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > left {
		p = p[:left]
	}
	n, err := s.file.Read(p)
	s.pos += int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		s.err = err
	}
	return n, err
}

// SyscallConn gives the file's descriptor to sendfile.
func (s *section) SyscallConn() (syscall.RawConn, error) {
	if s.pos >= s.end || s.chunk > s.end-s.pos && !s.toEOF {
		return nil, errTail
	}
	conn, err := s.file.SyscallConn()
	if err != nil {
		return nil, err
	}
	return sectionConn{conn, s}, nil
}

// sectionConn keeps the section's position with the file's.
type sectionConn struct {
	syscall.RawConn
	s *section
}

// Read lets f send from the descriptor and then looks how far it came.
func (c sectionConn) Read(f func(fd uintptr) bool) error {
	if err := c.RawConn.Read(f); err != nil {
		return err
	}
	pos, err := c.s.file.Seek(0, io.SeekCurrent)
	if err != nil {
		c.s.err = err
		return err
	}
	c.s.pos = pos
	if pos > c.s.end {
		c.s.err = errOvershoot
		return errOvershoot
	}
	return nil
}
