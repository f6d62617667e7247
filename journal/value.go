package journal

import (
	"encoding/binary"
	"errors"

	"github.com/ooseio/oose/record"
)

var errValue = errors.New("malformed value in the database")

const (
	flagDeleted = 1 << iota
	flagFinal
	flagExpires
	knownFlags = 1<<iota - 1
)

// encodeRecord gives what is kept under a record's key: flags, time, revision,
// expiry where there is one, value.
func encodeRecord(r *record.Record) []byte {
	b := make([]byte, 0, 1+8+2*binary.MaxVarintLen64+len(r.Value))
	var flags byte
	if r.Deleted {
		flags |= flagDeleted
	}
	if r.Final {
		flags |= flagFinal
	}
	if r.Expires != 0 {
		flags |= flagExpires
	}
	b = append(b, flags)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Time))
	b = binary.AppendUvarint(b, r.Revision)
	if r.Expires != 0 {
		b = binary.AppendUvarint(b, uint64(r.Expires))
	}
	return append(b, r.Value...)
}

// decodeRecord adds what encodeRecord gave to a record's identity. The value
// is a part of b.
func decodeRecord(r *record.Record, b []byte) error {
	if len(b) < 9 || b[0]&^knownFlags != 0 {
		return errValue
	}
	flags := b[0]
	r.Deleted, r.Final = flags&flagDeleted != 0, flags&flagFinal != 0
	r.Time = record.Time(binary.BigEndian.Uint64(b[1:]))
	b = b[9:]
	var n int
	if r.Revision, n = binary.Uvarint(b); n <= 0 {
		return errValue
	}
	b = b[n:]
	if flags&flagExpires != 0 {
		expires, n := binary.Uvarint(b)
		if n <= 0 || expires == 0 || expires > 1<<63-1 {
			return errValue
		}
		r.Expires = int64(expires)
		b = b[n:]
	}
	if len(b) > 0 {
		r.Value = b
	}
	return nil
}

// state is what is known of a source.
type state struct {
	head    uint64      // its last revision here
	claim   uint64      // up to which this node has all of it that is alive; its own: the head
	dropped uint64      // the newest revision whose tombstone was dropped
	last    record.Time // the latest time that it gave
	leaps   leaps       // that it made, its past included
}

func (s state) encode() []byte {
	b := make([]byte, 0, (5+2*len(s.leaps))*binary.MaxVarintLen64)
	for _, n := range [...]uint64{s.head, s.claim, s.dropped, uint64(s.last)} {
		b = binary.AppendUvarint(b, n)
	}
	return s.leaps.appendTo(b)
}

func decodeState(b []byte) (state, error) {
	var numbers [4]uint64
	for i := range numbers {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return state{}, errValue
		}
		numbers[i], b = v, b[n:]
	}
	s := state{head: numbers[0], claim: numbers[1], dropped: numbers[2], last: record.Time(numbers[3])}
	if len(b) == 0 {
		return s, nil // format 1
	}
	var err error
	if s.leaps, b, err = decodeLeaps(b); err != nil || len(b) != 0 {
		return state{}, errValue
	}
	return s, nil
}
