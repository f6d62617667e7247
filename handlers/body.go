package handlers

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"
)

// Bounds of JSON bodies in bytes.
const (
	MaxJSON   = 1 << 20  // of every route
	MaxHashes = 16 << 20 // of those that take arrays of hashes, which are decoded as a stream
)

// ReadJSON reads a request's JSON object into v, a pointer to a struct. An
// empty body is an empty object. Its errors are Faults.
func ReadJSON(w http.ResponseWriter, r *http.Request, v any) error {
	body, err := JSONBody(w, r, MaxJSON)
	if err != nil {
		return err
	}
	raw, err := io.ReadAll(body)
	if err != nil {
		return bodyFault(err)
	}
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return nil
	}
	if raw[0] != '{' {
		return wrongRoot(raw)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return bodyFault(err)
	}
	return nil
}

// CheckJSON reads the body of a route that takes no fields. Only JSON is
// looked at: it must be well-formed, an object or an array; anything else is
// left alone.
func CheckJSON(w http.ResponseWriter, r *http.Request) error {
	if t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); !isJSON(t) {
		return nil
	}
	body, err := JSONBody(w, r, MaxJSON)
	if err != nil {
		return err
	}
	raw, err := io.ReadAll(body)
	if err != nil {
		return bodyFault(err)
	}
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return nil
	}
	if !json.Valid(raw) {
		return bodyFault(json.Unmarshal(raw, new(any)))
	}
	if raw[0] != '{' && raw[0] != '[' {
		return wrongRoot(raw)
	}
	return nil
}

// JSONBody returns the request's body, bounded to max bytes, where its headers
// say that it is JSON in UTF-8 or say nothing. A body in another form gives a
// Fault, unless it is empty.
func JSONBody(w http.ResponseWriter, r *http.Request, max int64) (io.Reader, error) {
	if r.Body == nil || r.ContentLength == 0 {
		return http.NoBody, nil
	}
	header := r.Header.Get("Content-Type")
	mediaType, params, err := mime.ParseMediaType(header)
	if header != "" && (err != nil || !isJSON(mediaType)) {
		return nil, Faultf(Unsupported, "The body is not JSON: send it with Content-Type: application/json")
	}
	switch charset := strings.ToLower(params["charset"]); charset {
	case "", "utf-8", "utf8", "us-ascii":
	default:
		return nil, Faultf(Unsupported, "The charset of the body is not supported: use UTF-8")
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return nil, Faultf(Unsupported, "A compressed body is not supported: send it as it is")
	}
	if r.ContentLength > max {
		return nil, Faultf(TooLarge, "The body is larger than %d bytes", max)
	}
	return http.MaxBytesReader(w, r.Body, max), nil
}

func isJSON(mediaType string) bool {
	return mediaType == "application/json" || strings.HasSuffix(mediaType, "+json")
}

func wrongRoot(raw []byte) error {
	if !json.Valid(raw) {
		return bodyFault(json.Unmarshal(raw, new(any)))
	}
	return Faultf(Malformed, "The body must be a JSON object")
}

// bodyFault tells what is wrong with a body.
func bodyFault(err error) error {
	var (
		fault    *Fault
		tooLarge *http.MaxBytesError
		syntax   *json.SyntaxError
		kind     *json.UnmarshalTypeError
	)
	switch {
	case errors.As(err, &fault):
		return fault
	case errors.As(err, &tooLarge):
		return Faultf(TooLarge, "The body is larger than %d bytes", tooLarge.Limit).Because(err)
	case errors.As(err, &kind):
		return Faultf(Malformed, "%s must be %s, not %s", fieldName(kind.Field), kindName(kind.Type), kindOf(kind.Value)).Because(err)
	case errors.As(err, &syntax):
		return Faultf(Malformed, "The body is not valid JSON, at byte %d", syntax.Offset).Because(err)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return Faultf(Malformed, "The body ended before its JSON was complete").Because(err)
	}
	return Faultf(Malformed, "The body could not be read").Because(err)
}

func fieldName(field string) string {
	if field == "" {
		return "the body"
	}
	return strconv.Quote(field)
}

// kindName says what a field takes, in the words of JSON.
func kindName(t reflect.Type) string {
	switch t {
	case nil:
		return "of another type"
	case reflect.TypeFor[Int]():
		return "a whole number"
	case reflect.TypeFor[Strings]():
		return "a string or an array of strings"
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Map, reflect.Struct:
		return "an object"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number"
	case reflect.Float32, reflect.Float64:
		return "a number"
	}
	return "of another type"
}

// kindOf says what was sent; numbers come with their digits, which are cut off.
func kindOf(value string) string {
	kind, _, _ := strings.Cut(value, " ")
	switch kind {
	case "array", "object":
		return "an " + kind
	case "string", "number":
		return "a " + kind
	case "bool":
		return "true or false"
	}
	return value
}

// Int is a whole number in JSON that may come as a string of digits, as forms
// and older clients send it. Set tells whether it came at all; null is as if
// it had not.
type Int struct {
	Value int64
	Set   bool
}

// UnmarshalJSON reads a number or a string of one; a fraction is cut off.
func (n *Int) UnmarshalJSON(b []byte) error {
	text := string(b)
	if text == "null" {
		return nil
	}
	if text[0] == '"' {
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
		text = strings.TrimSpace(text)
		if text == "" {
			return nil
		}
	}
	if v, err := strconv.ParseInt(text, 10, 64); err == nil {
		n.Value, n.Set = v, true
		return nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f > 1<<62 || f < -(1<<62) || f != f {
		return &json.UnmarshalTypeError{Value: valueKind(b), Type: reflect.TypeFor[Int]()}
	}
	n.Value, n.Set = int64(f), true
	return nil
}

// Strings is a list of strings in JSON that may come as one string.
type Strings []string

// UnmarshalJSON reads an array of strings, one string or null.
func (s *Strings) UnmarshalJSON(b []byte) error {
	switch b[0] {
	case 'n':
		*s = nil
		return nil
	case '"':
		var one string
		if err := json.Unmarshal(b, &one); err != nil {
			return err
		}
		*s = Strings{one}
		return nil
	case '[':
		var many []string
		if err := json.Unmarshal(b, &many); err != nil {
			return &json.UnmarshalTypeError{Value: "an array of something else", Type: reflect.TypeFor[Strings]()}
		}
		*s = many
		return nil
	}
	return &json.UnmarshalTypeError{Value: valueKind(b), Type: reflect.TypeFor[Strings]()}
}

// valueKind names the kind of a valid JSON value.
func valueKind(b []byte) string {
	switch b[0] {
	case '"':
		return "string"
	case '{':
		return "object"
	case '[':
		return "array"
	case 't', 'f':
		return "bool"
	case 'n':
		return "null"
	}
	return "number"
}

// Flag is true or false in JSON that may come as a string or number.
type Flag bool

// UnmarshalJSON reads true, "true", "1" or 1 as true, and what is the opposite
// of these, "" or null as false.
func (f *Flag) UnmarshalJSON(b []byte) error {
	switch strings.ToLower(strings.Trim(string(b), `"`)) {
	case "true", "1":
		*f = true
	case "false", "0", "", "null":
		*f = false
	default:
		return &json.UnmarshalTypeError{Value: valueKind(b), Type: reflect.TypeFor[bool]()}
	}
	return nil
}
