package journal

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"
)

// format is what the f key holds.
type format struct {
	Version int    `json:"version"`
	Source  string `json:"source"`
}

// load reads what the committer begins with, and makes it in a new database.
func (j *Journal) load(cluster bool) error {
	f, err := j.loadFormat()
	if err != nil {
		return err
	}
	j.source.Store(&f.Source)
	j.committed.sources = map[string]state{f.Source: {}}
	j.committed.complete = make(map[string]int64)
	j.committed.feeds = make(map[string]*feed)
	j.committed.parted, j.committed.moving = make(map[string]int), make(map[string]bool)
	err = j.db.View(func(txn *badger.Txn) (err error) {
		if err := j.loadStates(txn); err != nil {
			return err
		}
		j.committed.totals, err = loadTotals(txn)
		return err
	})
	if err != nil {
		return fmt.Errorf("reading its state: %w", err)
	}
	own := j.committed.sources[f.Source]
	j.committed.pending = leapt(own.head, cluster, j.committed.sources, f.Source)
	for source := range j.committed.sources {
		if root, _, is := parseBranch(source); is {
			j.branched[root] = true
		}
	}
	for source := range j.committed.sources {
		if root, to, is := parseBranch(source); is {
			if f, unsplit := j.committed.unsplit(root, to); unsplit {
				j.committed.moving[f.source], j.committed.moving[source] = true, true
			}
		}
	}
	j.committed.head.Store(own.head)
	j.clock.Restore(own.last)
	return nil
}

func (j *Journal) loadStates(txn *badger.Txn) error {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{sourceKind}})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		source := string(it.Item().Key()[1:])
		err := it.Item().Value(func(b []byte) error {
			s, err := decodeState(b)
			j.committed.sources[source] = s
			return err
		})
		if err != nil {
			return fmt.Errorf("source %.40q: %w", source, err)
		}
	}
	return nil
}

func (j *Journal) loadFormat() (format, error) {
	var f format
	err := j.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(formatKey)
		if err != nil {
			return err
		}
		return item.Value(func(b []byte) error { return json.Unmarshal(b, &f) })
	})
	switch {
	case errors.Is(err, badger.ErrKeyNotFound):
		return j.makeFormat()
	case err != nil:
		return f, fmt.Errorf("reading its format: %w", err)
	case f.Version > formatVersion:
		return f, fmt.Errorf("%w: it is in format %d and this program knows up to %d, use a newer one", ErrFormat, f.Version, formatVersion)
	case f.Version < 1 || f.Source == "":
		return f, fmt.Errorf("reading its format: %w", errValue)
	case f.Version < formatVersion && j.space.check() == nil:
		f.Version = formatVersion // the older one is a part of it
		return f, j.writeFormat(f)
	}
	return f, nil
}

func (j *Journal) makeFormat() (format, error) {
	f := format{Version: formatVersion, Source: newSource()}
	if err := j.space.check(); err != nil {
		return f, err
	}
	if err := j.writeFormat(f); err != nil {
		return f, err
	}
	j.log.Info("made a new database", zap.String("source", f.Source))
	return f, nil
}

func (j *Journal) writeFormat(f format) error {
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if err := j.db.Update(func(txn *badger.Txn) error { return txn.Set(formatKey, b) }); err != nil {
		return fmt.Errorf("writing its format: %w", err)
	}
	return nil
}

// newSource makes the identity of a writer: random letters and digits.
func newSource() string { return strings.ToLower(rand.Text()) }
