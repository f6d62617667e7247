// Package export writes all records of an engine as lines of JSON, and takes
// them into another one: a backup, or the way from one engine to the other.
//
// # Format
//
// The first line names the format and its version, the last one has the number
// of records and the SHA-256 of all lines before it, so that a file that was
// cut off or damaged is noticed. Between them is one record a line, each
// source's in the order of its revisions, with its source, revision and time.
// A record may come twice, when it was changed while it was exported; the later
// version has the higher revision.
//
//	{"format":"oose-export","version":1,"source":"…","time":1795168800000}
//	{"topic":"user","key":"alice","source":"…","time":"117648…","revision":7,"value":{"password":"…"}}
//	{"end":true,"records":1,"sha256":"…"}
//
// A value stands as it is where it is compact JSON, so that the file can be read and
// searched; any other is in `value64` (base64). Either way it comes back byte
// for byte. `keep` says until when (milliseconds since 1970) the versions under
// the record's key were to be kept, all together. A stream that fails ends with
// a line {"error":"…"}.
package export

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/ooseio/oose/record"
)

// Errors on which callers decide.
var (
	// ErrFormat says that what was read is no export, is one of a newer version,
	// or is damaged.
	ErrFormat = errors.New("this is no sound export")
	// ErrTruncated says that an export has no end: it was interrupted, or cut off.
	ErrTruncated = errors.New("the export is not complete")
)

// Version is the version of the format that is written, and the newest that is read.
const Version = 1

const formatName = "oose-export"

// maxLine bounds one line, in bytes: a value in base64, and names whose every
// byte is escaped.
const maxLine = 256 << 10

// Header is the first line.
type Header struct {
	Format  string `json:"format"` // filled in by NewWriter
	Version int    `json:"version"`
	Source  string `json:"source,omitempty"` // under which the exported engine writes
	Time    int64  `json:"time"`             // milliseconds since 1970: when the export began
}

// Entry is one record of an export.
type Entry struct {
	record.Record
	Keep int64 // until when the versions of its key are kept together, milliseconds since 1970; 0: for good, or not known
}

// line is every line but the first.
type line struct {
	Topic    record.Topic    `json:"topic,omitempty"`
	Key      string          `json:"key,omitempty"`
	Member   string          `json:"member,omitempty"`
	Source   string          `json:"source,omitempty"`
	Names64  *names          `json:"names64,omitempty"` // in place of key, member and source that are no UTF-8
	Time     record.Time     `json:"time,omitzero"`
	Revision uint64          `json:"revision,omitempty"`
	Expires  int64           `json:"expires,omitempty"`
	Keep     int64           `json:"keep,omitempty"`
	Deleted  bool            `json:"deleted,omitempty"`
	Final    bool            `json:"final,omitempty"`
	Value    json.RawMessage `json:"value,omitempty"`
	Value64  []byte          `json:"value64,omitempty"`

	End     bool   `json:"end,omitempty"`
	Records uint64 `json:"records,omitempty"`
	SHA256  string `json:"sha256,omitempty"`
	Error   string `json:"error,omitempty"`
}

type names struct {
	Key    []byte `json:"key"`
	Member []byte `json:"member,omitempty"`
	Source []byte `json:"source"`
}

func lineOf(e Entry) line {
	l := line{
		Topic: e.Topic, Key: e.Key, Member: e.Member, Source: e.Source, Time: e.Time, Revision: e.Revision,
		Expires: e.Expires, Keep: e.Keep, Deleted: e.Deleted, Final: e.Final,
	}
	if !utf8.ValidString(e.Key) || !utf8.ValidString(e.Member) || !utf8.ValidString(e.Source) {
		l.Key, l.Member, l.Source = "", "", ""
		l.Names64 = &names{[]byte(e.Key), []byte(e.Member), []byte(e.Source)}
	}
	if plain(e.Value) {
		l.Value = e.Value
	} else {
		l.Value64 = e.Value
	}
	return l
}

// plain tells whether a value can stand in a line as it is.
func plain(value []byte) bool {
	// What encoding/json reads has a bound on its depth, which the line adds to.
	const deepest = 1000
	if !utf8.Valid(value) || bytes.Count(value, []byte("["))+bytes.Count(value, []byte("{")) > deepest {
		return false
	}
	var compact bytes.Buffer
	compact.Grow(len(value))
	return json.Compact(&compact, value) == nil && bytes.Equal(compact.Bytes(), value)
}

// entry returns the record of a line; its error is ErrFormat.
func (l *line) entry() (Entry, error) {
	e := Entry{Keep: l.Keep, Record: record.Record{
		Topic: l.Topic, Key: l.Key, Member: l.Member, Source: l.Source, Time: l.Time, Revision: l.Revision,
		Expires: l.Expires, Deleted: l.Deleted, Final: l.Final, Value: l.Value,
	}}
	switch {
	case l.Names64 != nil && l.Key+l.Member+l.Source != "", l.Value != nil && l.Value64 != nil:
		return Entry{}, fmt.Errorf("%w: a name or value is there twice", ErrFormat)
	case l.SHA256 != "" || l.Records != 0 || l.Keep < 0:
		return Entry{}, fmt.Errorf("%w: fields that do not belong to a record", ErrFormat)
	}
	if l.Names64 != nil {
		e.Key, e.Member, e.Source = string(l.Names64.Key), string(l.Names64.Member), string(l.Names64.Source)
	}
	if l.Value == nil {
		e.Value = l.Value64
	}
	if err := record.CheckRecord(e.Record); err != nil {
		return Entry{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return e, nil
}
