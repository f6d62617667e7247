package export

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
)

// Writer writes an export. Its methods are for one goroutine.
type Writer struct {
	w       io.Writer
	sum     hash.Hash
	records uint64
	buf     bytes.Buffer
	encoder *json.Encoder
}

// NewWriter begins an export on w, which had better be buffered.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	x := &Writer{w: w, sum: sha256.New()}
	x.prepare()
	h.Format, h.Version = formatName, Version
	return x, x.line(h)
}

func (x *Writer) prepare() {
	x.encoder = json.NewEncoder(&x.buf)
	x.encoder.SetEscapeHTML(false) // a value stays as it is
}

// Write writes one record.
func (x *Writer) Write(e Entry) error {
	if err := x.line(lineOf(e)); err != nil {
		return err
	}
	x.records++
	return nil
}

// Close writes the last line. It does not close what it writes to.
func (x *Writer) Close() error {
	return x.line(line{End: true, Records: x.records, SHA256: hex.EncodeToString(x.sum.Sum(nil))})
}

// Fail ends the export with the reason why it has no proper end.
func (x *Writer) Fail(reason string) error { return x.line(line{Error: reason}) }

// Records is how many records have been written.
func (x *Writer) Records() uint64 { return x.records }

func (x *Writer) line(v any) error {
	x.buf.Reset()
	if err := x.encoder.Encode(v); err != nil {
		return fmt.Errorf("encoding a line of the export: %w", err)
	}
	x.sum.Write(x.buf.Bytes())
	if _, err := x.w.Write(x.buf.Bytes()); err != nil {
		return fmt.Errorf("writing the export: %w", err)
	}
	return nil
}
