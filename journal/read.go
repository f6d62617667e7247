package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"github.com/ooseio/oose/record"
)

const (
	// maxCached is how many bytes of values under one key the cache takes.
	maxCached = 8 << 10

	// A page is what is read in one go: an iterator that stays open while its
	// reader is busy would keep Badger from cleaning up.
	pageRecords = 256
	pageBytes   = 1 << 20
)

// Get returns all versions under a key; see record.Engine.
func (j *Journal) Get(ctx context.Context, topic record.Topic, key string) ([]record.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if j.readers.shut.Load() {
		return nil, errClosed
	}
	if record.CheckKey(topic, key) != nil {
		return nil, nil // nothing can be kept under such a key
	}
	j.counters.gets.Add(1)
	return j.cache.Get(ctx, cacheKey(topic, key), func(context.Context, string) ([]record.Record, bool, error) {
		return j.loadGroup(topic, key)
	})
}

func cacheKey(topic record.Topic, key string) string { return string(topic) + "\x00" + key }

func (j *Journal) loadGroup(topic record.Topic, key string) ([]record.Record, bool, error) {
	j.counters.loads.Add(1)
	var versions []record.Record
	size := 0
	err := j.view(func(txn *badger.Txn) error {
		prefix := groupPrefix(topic, key)
		it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			r, err := readRecord(it.Item())
			if err != nil {
				return err
			}
			versions = append(versions, r)
			size += len(r.Value)
		}
		return nil
	})
	if err != nil {
		return nil, false, fmt.Errorf("reading the records of %s: %w", topic, err)
	}
	if len(versions) == 0 && j.damaged.Load() {
		return nil, false, errDamaged
	}
	return slices.Clip(versions), size <= maxCached, nil
}

var errDamaged = fmt.Errorf("%w: the database is damaged, and may have lost what was asked for", record.ErrUnavailable)

// view reads in one short transaction.
func (j *Journal) view(f func(*badger.Txn) error) error {
	if err := j.readers.enter(); err != nil {
		return err
	}
	defer j.readers.leave()
	if err := j.db.View(f); err != nil {
		return fmt.Errorf("%w: %w", record.ErrUnavailable, err)
	}
	return nil
}

func readRecord(item *badger.Item) (record.Record, error) {
	r, err := parseRecordKey(item.Key())
	if err != nil {
		return r, fmt.Errorf("%w: %.80q", err, item.Key())
	}
	b, err := item.ValueCopy(nil)
	if err != nil {
		return r, err
	}
	if err := decodeRecord(&r, b); err != nil {
		return r, fmt.Errorf("%w: under %s", err, r.Topic)
	}
	return r, nil
}

// page is a part of a listing, and the key at which the next part begins (nil: none).
type page struct {
	records []record.Record
	next    []byte
}

// pages yields the records of one page after another.
func pages(ctx context.Context, start []byte, read func(start []byte) (page, error)) iter.Seq2[record.Record, error] {
	return func(yield func(record.Record, error) bool) {
		for start != nil {
			err := ctx.Err()
			var p page
			if err == nil {
				p, err = read(start)
			}
			if err != nil {
				yield(record.Record{}, err)
				return
			}
			for _, r := range p.records {
				if !yield(r, nil) {
					return
				}
			}
			start = p.next
		}
	}
}

// List yields all versions in an index's order; see record.Engine. It reads in
// pages that end between keys: the versions under one key belong together.
func (j *Journal) List(ctx context.Context, topic record.Topic, by record.Index, prefix, after string) iter.Seq2[record.Record, error] {
	if i := strings.IndexByte(after, 0); i >= 0 {
		after = after[:i] // keys have no NUL: what is behind one is behind the other
	}
	switch {
	case !record.Known(topic), by == record.ByMember && topic != record.Inventory, by > record.ByMember:
		return func(yield func(record.Record, error) bool) {
			yield(record.Record{}, fmt.Errorf("listing %.40q: %w: no such index", string(topic), record.ErrInvalid))
		}
	case strings.IndexByte(prefix, 0) >= 0:
		return func(func(record.Record, error) bool) {}
	case by == record.ByMember:
		start := append(memberPrefix(topic, prefix), after...)
		if after != "" {
			start = append(start, 0)
		}
		return pages(ctx, start, func(start []byte) (page, error) { return j.memberPage(topic, prefix, start) })
	}
	within := append(topicPrefix(topic), prefix...)
	start := within
	if behind := append(append(topicPrefix(topic), after...), 1); after != "" && bytes.Compare(behind, start) > 0 {
		start = behind
	}
	return pages(ctx, start, func(start []byte) (page, error) { return j.keyPage(within, start) })
}

func (j *Journal) keyPage(within, start []byte) (page, error) {
	var p page
	err := j.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: within})
		defer it.Close()
		size, last := 0, ""
		for it.Seek(start); it.Valid(); it.Next() {
			r, err := readRecord(it.Item())
			if err != nil {
				return err
			}
			if (len(p.records) >= pageRecords || size >= pageBytes) && r.Key != last {
				p.next = it.Item().KeyCopy(nil)
				return nil
			}
			p.records = append(p.records, r)
			size, last = size+len(r.Value), r.Key
		}
		return nil
	})
	if err != nil {
		return page{}, fmt.Errorf("listing records: %w", err)
	}
	return p, nil
}

func (j *Journal) memberPage(topic record.Topic, member string, start []byte) (page, error) {
	var p page
	err := j.view(func(txn *badger.Txn) error {
		within := memberPrefix(topic, member)
		keys := txn.NewIterator(badger.IteratorOptions{Prefix: within})
		defer keys.Close()
		versions := txn.NewIterator(badger.IteratorOptions{Prefix: topicPrefix(topic)})
		defer versions.Close()
		size := 0
		for keys.Seek(start); keys.Valid(); keys.Next() {
			if len(p.records) >= pageRecords || size >= pageBytes {
				p.next = keys.Item().KeyCopy(nil)
				return nil
			}
			group := memberGroup(topic, string(keys.Item().Key()[len(within):]), member)
			for versions.Seek(group); versions.ValidForPrefix(group); versions.Next() {
				r, err := readRecord(versions.Item())
				if err != nil {
					return err
				}
				p.records = append(p.records, r)
				size += len(r.Value)
			}
		}
		return nil
	})
	if err != nil {
		return page{}, fmt.Errorf("listing records: %w", err)
	}
	return p, nil
}

// Walk yields the latest version of every record behind a position, each
// source in the order of its revisions; see record.Engine. What is written
// meanwhile is seen if its source's turn has not ended; a source that came to
// be meanwhile has its turn at the end, because Part moves records to it.
func (j *Journal) Walk(ctx context.Context, since record.Position) iter.Seq2[record.Record, error] {
	return func(yield func(record.Record, error) bool) {
		if j.readers.shut.Load() {
			yield(record.Record{}, errClosed)
			return
		}
		walked := make(map[string]bool)
		for {
			left := slices.DeleteFunc(j.Sources(), func(source string) bool { return walked[source] })
			if len(left) == 0 {
				return
			}
			for _, source := range left {
				walked[source] = true
				start := revisionKey(source, since[source]+1)
				for r, err := range pages(ctx, start, func(start []byte) (page, error) { return j.revisionPage(source, start) }) {
					if !yield(r, err) || err != nil {
						return
					}
				}
			}
		}
	}
}

func (j *Journal) revisionPage(source string, start []byte) (page, error) {
	var p page
	err := j.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: sourcePrefix(source)})
		defer it.Close()
		size := 0
		for it.Seek(start); it.Valid(); it.Next() {
			if len(p.records) >= pageRecords || size >= pageBytes {
				p.next = it.Item().KeyCopy(nil)
				return nil
			}
			at, err := it.Item().ValueCopy(nil)
			if err != nil {
				return err
			}
			item, err := txn.Get(at)
			if errors.Is(err, badger.ErrKeyNotFound) {
				return fmt.Errorf("%w: a revision without its record", errValue)
			}
			if err != nil {
				return err
			}
			r, err := readRecord(item)
			if err != nil {
				return err
			}
			p.records = append(p.records, r)
			size += len(r.Value)
		}
		return nil
	})
	if err != nil {
		return page{}, fmt.Errorf("walking the revisions: %w", err)
	}
	return p, nil
}

// Sources returns the sources of which this journal has something, in order.
func (j *Journal) Sources() []string {
	j.committed.mu.Lock()
	defer j.committed.mu.Unlock()
	return slices.Sorted(maps.Keys(j.committed.sources))
}
