package export

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/ooseio/oose/record"
)

// Reader reads an export, which may come from anywhere. Its methods are for one
// goroutine.
type Reader struct {
	r        *bufio.Reader
	sum      hash.Hash
	header   Header
	records  uint64
	lines    int
	offset   int64 // behind the last whole line
	position record.Position
	err      error
}

// NewReader reads the first line. Its errors: ErrFormat, ErrTruncated where
// there is no whole line, and those of reading.
func NewReader(r io.Reader) (*Reader, error) {
	x := &Reader{r: bufio.NewReaderSize(r, maxLine), sum: sha256.New(), position: make(record.Position)}
	text, err := x.next()
	if err != nil {
		return nil, err
	}
	if err := decode(text, &x.header); err != nil || x.header.Format != formatName {
		return nil, fmt.Errorf("%w: its first line does not say that it is one", ErrFormat)
	}
	if x.header.Version < 1 || x.header.Version > Version {
		return nil, fmt.Errorf("%w: it is of version %d, this program knows up to %d, use a newer one", ErrFormat, x.header.Version, Version)
	}
	x.take(text)
	return x, nil
}

// Header is the first line.
func (x *Reader) Header() Header { return x.header }

// Records is how many records have been read.
func (x *Reader) Records() uint64 { return x.records }

// Position is how far what was read goes. It is the reader's own.
func (x *Reader) Position() record.Position { return x.position }

// Next returns the next record. It ends with io.EOF behind a whole export. Its
// other errors: ErrFormat, ErrTruncated, and those of reading; none of them
// goes away.
func (x *Reader) Next() (Entry, error) {
	if x.err != nil {
		return Entry{}, x.err
	}
	e, err := x.read()
	if err != nil {
		x.err = err
		return Entry{}, err
	}
	x.records++
	x.position[e.Source] = max(x.position[e.Source], e.Revision)
	return e, nil
}

func (x *Reader) read() (Entry, error) {
	text, err := x.next()
	if err != nil {
		return Entry{}, err
	}
	var l line
	if err := decode(text, &l); err != nil {
		return Entry{}, fmt.Errorf("%w: line %d: %w", ErrFormat, x.lines+1, err)
	}
	switch {
	case l.Error != "":
		return Entry{}, fmt.Errorf("%w: who wrote it failed: %.500s", ErrTruncated, l.Error)
	case l.End:
		if l.Records != x.records || l.SHA256 != hex.EncodeToString(x.sum.Sum(nil)) {
			return Entry{}, fmt.Errorf("%w: it was changed or damaged, its sum does not agree", ErrFormat)
		}
		if _, err := x.r.Peek(1); err == nil {
			return Entry{}, fmt.Errorf("%w: there is more behind its end", ErrFormat)
		} else if !errors.Is(err, io.EOF) {
			return Entry{}, fmt.Errorf("reading the export: %w", err)
		}
		x.take(text)
		return Entry{}, io.EOF
	}
	e, err := l.entry()
	if err != nil {
		return Entry{}, fmt.Errorf("line %d: %w", x.lines+1, err)
	}
	x.take(text)
	return e, nil
}

// next returns the next line with its end, valid until the next call.
func (x *Reader) next() ([]byte, error) {
	text, err := x.r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, fmt.Errorf("%w: line %d is longer than %d bytes", ErrFormat, x.lines+1, maxLine)
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%w: it breaks off after %d records", ErrTruncated, x.records)
	case err != nil:
		return nil, fmt.Errorf("reading the export: %w", err)
	}
	return text, nil
}

// take counts a line as read.
func (x *Reader) take(text []byte) {
	x.sum.Write(text)
	x.lines++
	x.offset += int64(len(text))
}

// decode reads one JSON value that has nothing behind it, and no field that
// this version does not know.
func decode(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something stands behind it")
	}
	return nil
}
