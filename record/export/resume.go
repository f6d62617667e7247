package export

import (
	"errors"
	"fmt"
	"io"

	"github.com/ooseio/oose/record"
)

// File is what Resume needs of a file.
type File interface {
	io.Reader
	io.Writer
	io.Seeker
	Truncate(size int64) error
}

// Resumed is an interrupted export that goes on.
type Resumed struct {
	Header   Header
	Position record.Position // what its whole lines go up to
	Writer   *Writer         // writes behind them
	Records  uint64          // that it has
}

// ErrComplete says that an export has its end already.
var ErrComplete = errors.New("the export is complete already")

// Resume reads an export that was interrupted and prepares to go on behind its
// last whole line, with w over f. Its errors: ErrComplete, ErrFormat,
// ErrTruncated where not even its first line is whole, and those of the file.
func Resume(f File, w io.Writer) (*Resumed, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("reading the export: %w", err)
	}
	x, err := NewReader(f)
	if err != nil {
		return nil, err
	}
	for err == nil {
		_, err = x.Next()
	}
	switch {
	case errors.Is(err, io.EOF):
		return nil, ErrComplete
	case !errors.Is(err, ErrTruncated):
		return nil, err
	}
	if err := f.Truncate(x.offset); err != nil {
		return nil, fmt.Errorf("cutting off the unfinished line: %w", err)
	}
	if _, err := f.Seek(x.offset, io.SeekStart); err != nil {
		return nil, fmt.Errorf("going to the end of the export: %w", err)
	}
	writer := &Writer{w: w, sum: x.sum, records: x.records}
	writer.prepare()
	return &Resumed{Header: x.header, Position: x.position, Writer: writer, Records: x.records}, nil
}
