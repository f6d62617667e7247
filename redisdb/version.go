package redisdb

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ooseio/oose/record"
)

// A version, as a hash keeps it, is one line of text, then the value as it was
// given:
//
//	1 <milliseconds>-<count> <revision> <expires> <flags>
//
// The first number is the format. The flags are letters: d deleted, f final; a
// dash where there is none.

var errVersion = errors.New("a version can't be read")

const (
	maxMilli  = 1 << 47
	maxHeader = 96
)

func flagsOf(deleted, final bool) string {
	switch {
	case deleted && final:
		return "df"
	case deleted:
		return "d"
	case final:
		return "f"
	}
	return "-"
}

// encodeVersion is what a hash keeps of a record.
func encodeVersion(r *record.Record) string {
	var b strings.Builder
	b.Grow(maxHeader + len(r.Value))
	fmt.Fprintf(&b, "1 %d-%d %d %d %s\n", r.Time.Milli(), uint64(r.Time)&0xffff, r.Revision, r.Expires, flagsOf(r.Deleted, r.Final))
	b.Write(r.Value)
	return b.String()
}

// decodeVersion reads what a hash keeps. The record's value has its own memory.
func decodeVersion(topic record.Topic, key, field, raw string) (record.Record, error) {
	r := record.Record{Topic: topic, Key: key}
	r.Member, r.Source = parseField(field)
	end := strings.IndexByte(raw[:min(len(raw), maxHeader)], '\n')
	if end < 0 {
		return r, errVersion
	}
	parts := strings.Split(raw[:end], " ")
	if len(parts) != 5 || parts[0] != "1" {
		return r, errVersion
	}
	milli, count, ok := strings.Cut(parts[1], "-")
	ms, err1 := parseNumber(milli)
	n, err2 := parseNumber(count)
	revision, err3 := parseNumber(parts[2])
	expires, err4 := parseNumber(parts[3])
	if !ok || errors.Join(err1, err2, err3, err4) != nil || ms >= maxMilli || n > 0xffff || expires > 1<<63-1 {
		return r, errVersion
	}
	switch parts[4] {
	case "-":
	case "d":
		r.Deleted = true
	case "f":
		r.Final = true
	case "df":
		r.Deleted, r.Final = true, true
	default:
		return r, errVersion
	}
	r.Time, r.Revision, r.Expires = record.Time(ms<<16|n), revision, int64(expires)
	if value := raw[end+1:]; value != "" {
		r.Value = []byte(value)
	}
	if len(r.Value) > record.MaxValue || r.Source == "" || (r.Member != "") != (topic == record.Inventory) {
		return r, errVersion
	}
	return r, nil
}

// parseNumber takes digits alone: scripts read the same text with other rules.
func parseNumber(text string) (uint64, error) {
	if text == "" || text[0] < '0' || text[0] > '9' {
		return 0, errVersion
	}
	return strconv.ParseUint(text, 10, 64)
}

// decodeGroup reads the fields of one key's hash, in the order of (member,
// source). What can't be read is returned as an error, after all that can.
func decodeGroup(topic record.Topic, key string, fields map[string]string) ([]record.Record, error) {
	versions := make([]record.Record, 0, len(fields))
	var broken error
	for field, raw := range fields {
		r, err := decodeVersion(topic, key, field, raw)
		if err != nil {
			broken = fmt.Errorf("records of %s, field %.80q: %w", topic, field, err)
			continue
		}
		versions = append(versions, r)
	}
	slices.SortFunc(versions, func(a, b record.Record) int {
		if c := strings.Compare(a.Member, b.Member); c != 0 {
			return c
		}
		return strings.Compare(a.Source, b.Source)
	})
	return slices.Clip(versions), broken
}
