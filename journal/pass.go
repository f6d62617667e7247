package journal

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
)

// pass is one walk through what a source wrote, up to its first mark.
type pass struct {
	begin
	last uint64 // revision of its last version
	told told   // when it starts over

	// The committer's, though others look at fresh.
	begun bool
	fresh atomic.Bool // nothing of the source is here but what came in this pass
	seen  filter
}

// told is a growing list of revisions, small in memory.
type told struct {
	deltas []byte
	last   uint64
}

func (t *told) add(revision uint64) {
	t.deltas = binary.AppendUvarint(t.deltas, revision-t.last)
	t.last = revision
}

// toldReader walks through what was told.
type toldReader struct {
	deltas  []byte
	current uint64
}

// has tells whether a revision was told. It must be asked for growing ones.
func (t *toldReader) has(revision uint64) bool {
	for t.current < revision && len(t.deltas) > 0 {
		delta, n := binary.Uvarint(t.deltas)
		t.current, t.deltas = t.current+delta, t.deltas[n:]
	}
	return t.current == revision
}

// untold returns versions of a source that were not told, up to a revision,
// and where to go on, nil at the end.
func (j *Journal) untold(source string, t *toldReader, start []byte, upTo uint64) (gone []revised, next []byte, err error) {
	err = j.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: sourcePrefix(source)})
		defer it.Close()
		seen := 0
		for it.Seek(start); it.Valid(); it.Next() {
			key := it.Item().Key()
			if len(key) < 8 {
				return errKey
			}
			revision := binary.BigEndian.Uint64(key[len(key)-8:])
			if revision > upTo {
				return nil
			}
			if seen++; len(gone) == sweepHints || seen > walkedAtOnce {
				next = it.Item().KeyCopy(nil)
				return nil
			}
			if t.has(revision) {
				continue
			}
			at, err := it.Item().ValueCopy(nil)
			if err != nil {
				return err
			}
			gone = append(gone, revised{revision, at})
		}
		return nil
	})
	return gone, next, err
}

// walkedAtOnce is how many revisions are looked at in one go.
const walkedAtOnce = 10_000
