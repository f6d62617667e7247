package journal

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/bits"

	"github.com/dgraph-io/badger/v4"

	"github.com/ooseio/oose/record"
)

// sum is a digest of a set of versions: the sum of their hashes modulo 2^256.
// So one more or one less costs the same however many there are, and the order
// in which they came does not matter.
type sum [4]uint64

// sumOf hashes a version by its key and its value as they are in the database.
func sumOf(key, stored []byte) sum {
	var space [1024]byte
	b := binary.AppendUvarint(space[:0], uint64(len(key)))
	b = append(append(b, key...), stored...)
	h := sha256.Sum256(b)
	var s sum
	for i := range s {
		s[i] = binary.BigEndian.Uint64(h[8*i:])
	}
	return s
}

func (s *sum) add(o *sum) {
	var carry uint64
	for i := len(s) - 1; i >= 0; i-- {
		s[i], carry = bits.Add64(s[i], o[i], carry)
	}
}

func (s *sum) subtract(o *sum) {
	var borrow uint64
	for i := len(s) - 1; i >= 0; i-- {
		s[i], borrow = bits.Sub64(s[i], o[i], borrow)
	}
}

func (s sum) String() string {
	b := make([]byte, 0, 32)
	for _, n := range s {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return hex.EncodeToString(b)
}

// MarshalText gives what String does.
func (s sum) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText gives.
func (s *sum) UnmarshalText(text []byte) error {
	var b [32]byte
	if n, err := hex.Decode(b[:], text); err != nil || n != len(b) {
		return fmt.Errorf("digest %.80q: %w", text, errValue)
	}
	for i := range s {
		s[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	return nil
}

// totals is what the n key holds: of each topic, the versions that are not
// tombstones.
type totals struct {
	Counts  map[record.Topic]int64 `json:"counts"`
	Digests map[record.Topic]sum   `json:"digests"`
}

func newTotals() totals {
	return totals{Counts: make(map[record.Topic]int64), Digests: make(map[record.Topic]sum)}
}

func (t totals) clone() totals {
	return totals{Counts: maps.Clone(t.Counts), Digests: maps.Clone(t.Digests)}
}

// add counts a version, or with -1 one that went; tombstones don't count.
func (t totals) add(r *record.Record, s *sum, n int64) {
	if r.Deleted {
		return
	}
	t.Counts[r.Topic] += n
	d := t.Digests[r.Topic]
	if n > 0 {
		d.add(s)
	} else {
		d.subtract(s)
	}
	t.Digests[r.Topic] = d
}

// loadTotals reads the n key. The first databases kept the counts alone: there
// all versions are read once.
func loadTotals(txn *badger.Txn) (totals, error) {
	t := newTotals()
	item, err := txn.Get(countKey)
	switch {
	case errors.Is(err, badger.ErrKeyNotFound):
		return t, nil
	case err != nil:
		return t, err
	}
	err = item.Value(func(b []byte) error {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(b, &fields); err != nil {
			return err
		}
		if fields["digests"] == nil || fields["counts"] == nil {
			return addAll(txn, t)
		}
		return json.Unmarshal(b, &t)
	})
	return t, err
}

func addAll(txn *badger.Txn, t totals) error {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{recordKind}, PrefetchValues: true, PrefetchSize: 100})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		r, err := readRecord(it.Item())
		if err != nil {
			return err
		}
		s := sumOf(it.Item().Key(), encodeRecord(&r))
		t.add(&r, &s, 1)
	}
	return nil
}

// Digests returns for each topic a digest of all versions that are not
// tombstones. It is the same wherever the same is kept.
func (j *Journal) Digests() map[record.Topic]string {
	j.committed.mu.Lock()
	defer j.committed.mu.Unlock()
	digests := make(map[record.Topic]string, len(record.Topics()))
	for _, topic := range record.Topics() {
		digests[topic] = j.committed.totals.Digests[topic].String()
	}
	return digests
}
