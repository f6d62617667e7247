package journal

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"
)

// format is what the f key holds.
type format struct {
	Version int    `json:"version"`
	Source  string `json:"source"`
	// Renewing is there while Renew has not finished.
	Renewing *renewing `json:"renewing,omitempty"`
	// Opened is the head when the database was opened first since another
	// node was met: what is behind it may have to be moved, see Renew.
	Opened *uint64 `json:"opened,omitempty"`
	Leaps  leaps   `json:"leaps,omitempty"`
}

// load reads what the committer begins with, and makes it in a new database.
func (j *Journal) load(cluster bool) error {
	f, err := j.loadFormat()
	if err != nil {
		return err
	}
	j.source.Store(&f.Source)
	j.renewing = f.Renewing
	j.committed.sources = map[string]state{f.Source: {}}
	j.committed.complete = make(map[string]int64)
	j.committed.feeds = make(map[string]*feed)
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
	j.committed.leaps = f.Leaps.leapt(own.head, cluster, j.committed.sources, f.Source)
	j.leapt = len(j.committed.leaps) > 0 && j.committed.leaps[len(j.committed.leaps)-1].From == own.head
	j.opened, j.noted = own.head, f.Opened != nil
	if j.noted {
		j.opened = min(own.head, *f.Opened)
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
	}
	return f, nil
}

func (j *Journal) makeFormat() (format, error) {
	f := format{Version: formatVersion, Source: newSource()}
	b, err := json.Marshal(f)
	if err != nil {
		return f, err
	}
	if err := j.space.check(); err != nil {
		return f, err
	}
	if err := j.db.Update(func(txn *badger.Txn) error { return txn.Set(formatKey, b) }); err != nil {
		return f, fmt.Errorf("writing its format: %w", err)
	}
	j.log.Info("made a new database", zap.String("source", f.Source))
	return f, nil
}
