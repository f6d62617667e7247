package journal

import (
	"encoding/binary"
	"errors"
	"strings"

	"github.com/ooseio/oose/record"
)

// First bytes of the database's keys.
const (
	recordKind   = 'r'
	revisionKind = 'v'
	dueKind      = 'x'
	memberKind   = 'm'
	sourceKind   = 's'
	fillKind     = 'z'
)

var (
	countKey  = []byte{'n'}
	formatKey = []byte{'f'}
)

var errKey = errors.New("malformed key in the database")

// recordKey is where a version is kept.
func recordKey(r *record.Record) []byte {
	b := make([]byte, 0, 4+len(r.Topic)+len(r.Key)+len(r.Member)+len(r.Source))
	b = append(b, recordKind)
	b = append(append(b, r.Topic...), 0)
	b = append(append(b, r.Key...), 0)
	b = append(append(b, r.Member...), 0)
	return append(b, r.Source...)
}

// parseRecordKey reads what recordKey gave into the identity of a record.
func parseRecordKey(b []byte) (record.Record, error) {
	if len(b) == 0 || b[0] != recordKind {
		return record.Record{}, errKey
	}
	parts := strings.Split(string(b[1:]), "\x00")
	if len(parts) != 4 || parts[0] == "" || parts[1] == "" || parts[3] == "" {
		return record.Record{}, errKey
	}
	return record.Record{Topic: record.Topic(parts[0]), Key: parts[1], Member: parts[2], Source: parts[3]}, nil
}

// topicPrefix begins the record keys of a topic.
func topicPrefix(topic record.Topic) []byte {
	return append(append([]byte{recordKind}, topic...), 0)
}

// groupPrefix begins the record keys of all versions under one key.
func groupPrefix(topic record.Topic, key string) []byte {
	b := make([]byte, 0, 3+len(topic)+len(key))
	b = append(b, recordKind)
	b = append(append(b, topic...), 0)
	return append(append(b, key...), 0)
}

// memberGroup begins the record keys of one member under one key.
func memberGroup(topic record.Topic, key, member string) []byte {
	return append(append(groupPrefix(topic, key), member...), 0)
}

// sourcePrefix begins the revisions of one source.
func sourcePrefix(source string) []byte {
	b := make([]byte, 0, 10+len(source))
	return append(append(append(b, revisionKind), source...), 0)
}

func revisionKey(source string, revision uint64) []byte {
	return binary.BigEndian.AppendUint64(sourcePrefix(source), revision)
}

func stateKey(source string) []byte { return append([]byte{sourceKind}, source...) }

// memberPrefix begins what one member has.
func memberPrefix(topic record.Topic, member string) []byte {
	b := append(append([]byte{memberKind}, topic...), 0)
	return append(append(b, member...), 0)
}

func memberKey(topic record.Topic, member, key string) []byte {
	return append(memberPrefix(topic, member), key...)
}

// A hint says that the record under key may have to go at due.
type hint struct {
	due int64  // milliseconds since 1970
	key []byte // a record key
}

func (h hint) encode() []byte {
	b := make([]byte, 0, 9+len(h.key))
	b = binary.BigEndian.AppendUint64(append(b, dueKind), uint64(h.due))
	return append(b, h.key...)
}

func duePrefix(due int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{dueKind}, uint64(due))
}

func parseHint(b []byte) (hint, error) {
	if len(b) < 10 || b[0] != dueKind {
		return hint{}, errKey
	}
	due := binary.BigEndian.Uint64(b[1:])
	if due > 1<<63-1 {
		return hint{}, errKey
	}
	return hint{due: int64(due), key: b[9:]}, nil
}

// hintOf returns when a version may have to go, false where it is kept for good.
func hintOf(r *record.Record) (int64, bool) {
	switch {
	case record.Expiring(r.Topic) && r.Expires > 0:
		return record.KeepUntil([]record.Record{*r}), true
	case record.Tombstones(r.Topic) && r.Deleted:
		return record.TombstoneUntil(*r), true
	}
	return 0, false
}
