package handlers

import (
	"bytes"
	"fmt"
	"net/http"
)

// maxHeld is how much of a long answer is held back, in bytes, so that a
// failure can still be told with its status.
const maxHeld = 1 << 20

// ObjectWriter answers with a JSON object of any length, written as it is made.
type ObjectWriter struct {
	w    http.ResponseWriter
	b    bytes.Buffer
	sent bool
	any  bool
}

// NewObjectWriter returns a writer of one answer.
func NewObjectWriter(w http.ResponseWriter) *ObjectWriter { return &ObjectWriter{w: w} }

// Add appends one member. err is what making the value came to: nothing is
// appended then, and Add returns it for the answer, or, where a part of the
// object has left already, ends the response by panic(http.ErrAbortHandler),
// so that the client sees that it is not whole.
func (o *ObjectWriter) Add(key string, value any, err error) error {
	if err == nil {
		err = o.append(key, value)
	}
	if err == nil && o.b.Len() >= maxHeld {
		err = o.flush()
	}
	return o.abortIf(err)
}

// Close appends the object's end and sends what is left.
func (o *ObjectWriter) Close() error {
	if !o.any {
		o.b.WriteByte('{')
	}
	o.b.WriteByte('}')
	return o.abortIf(o.flush())
}

func (o *ObjectWriter) append(key string, value any) error {
	name, err := encode(key)
	if err != nil {
		return fmt.Errorf("encoding an answer: %w", err)
	}
	text, err := encode(value)
	if err != nil {
		return fmt.Errorf("encoding an answer: %w", err)
	}
	separator := byte('{')
	if o.any {
		separator = ','
	}
	o.any = true
	o.b.WriteByte(separator)
	o.b.Write(name)
	o.b.WriteByte(':')
	o.b.Write(text)
	return nil
}

func (o *ObjectWriter) flush() error {
	if !o.sent {
		o.sent = true
		h := o.w.Header()
		h.Set("Content-Type", "application/json; charset=utf-8")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		o.w.WriteHeader(http.StatusOK)
	}
	_, err := o.w.Write(o.b.Bytes())
	o.b.Reset()
	return err
}

func (o *ObjectWriter) abortIf(err error) error {
	if err != nil && o.sent {
		panic(http.ErrAbortHandler)
	}
	return err
}
