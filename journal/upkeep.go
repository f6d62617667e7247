package journal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"

	"github.com/ooseio/oose/record"
)

const (
	upkeepEvery = time.Minute // how much longer than due something may stay
	verifyEvery = 24 * time.Hour

	// Space comes back when tables are merged. Merging all of them costs a
	// rewrite of the database: it is done when nothing much else is, and a
	// fifth of what there is was removed.
	flattenMin   = 10_000
	flattenShare = 5
	idleCommits  = 100 * uint64(upkeepEvery/time.Second)
)

// upkeep is what Run does besides committing.
func (j *Journal) upkeep(ctx context.Context) {
	ticker := time.NewTicker(j.every)
	defer ticker.Stop()
	j.verify()
	verified := time.Now()
	removed := 0
	var before uint64
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		n, err := j.Sweep(ctx)
		if err != nil && ctx.Err() == nil {
			j.log.Warn("sweeping failed, it is tried again", zap.Error(err))
		}
		removed += n
		// The committer looks at the room before a batch; an empty one will do.
		_ = j.submit(ctx, j.background, &request{due: []hint{}})
		j.measure()
		j.space.upkeep()
		if time.Since(verified) >= verifyEvery {
			j.verify()
			verified = time.Now()
		}
		commits := j.counters.commits.Load()
		if j.worthMerging(removed) && commits-before < idleCommits {
			if err := j.Compact(ctx); err != nil {
				j.log.Warn("giving the database's space back failed", zap.Error(err))
			}
			removed = 0
		}
		before = commits
	}
}

func (j *Journal) worthMerging(removed int) bool {
	var kept int64
	for _, n := range j.counts() {
		kept += n
	}
	return removed >= flattenMin && int64(removed) >= kept/flattenShare
}

// Compact merges the database's tables, so that the space of what was removed
// comes back. It reads and writes about as much as the database holds.
func (j *Journal) Compact(ctx context.Context) error {
	j.merging.Lock()
	defer j.merging.Unlock()
	if j.readers.shut.Load() {
		return errClosed
	}
	if err := j.failure(); err != nil {
		return err
	}
	if err := j.space.check(); err != nil {
		return err
	}
	for {
		if err := j.flush(ctx); err != nil {
			return fmt.Errorf("writing what is in memory into tables: %w", err)
		}
		if !fewTables(j.db.Levels()) {
			break
		}
	}
	if err := j.db.Flatten(1); err != nil {
		return fmt.Errorf("merging tables: %w", err)
	}
	for ctx.Err() == nil {
		err := j.db.RunValueLogGC(0.5)
		switch {
		case errors.Is(err, badger.ErrNoRewrite), errors.Is(err, badger.ErrRejected):
			return nil
		case err != nil:
			return fmt.Errorf("collecting the value log: %w", err)
		}
	}
	return ctx.Err()
}

// fewTables tells whether all tables are in the first level and so few that
// Flatten would leave them alone. A flush adds one.
func fewTables(levels []badger.LevelInfo) bool {
	for _, l := range levels[1:] {
		if l.NumTables > 0 {
			return false
		}
	}
	return levels[0].NumTables > 0 && levels[0].NumTables <= levelZeroTables
}

const (
	fillBytes = 100 << 10 // of one value; below the threshold of the value log
	fillEach  = 10        // values in one transaction
	flushWait = time.Minute
)

// flush has Badger write its table in memory to the disk: the removals are in
// it, and what they remove is not, so merging would change nothing. Badger has
// no call for that; it does so when the table is full. So fill it, with zeros
// that the table on disk hardly notices.
func (j *Journal) flush(ctx context.Context) error {
	old, err := filepath.Glob(filepath.Join(j.space.dir, "*.mem"))
	if err != nil {
		return err
	}
	zeros := make([]byte, fillBytes)
	for filled := 0; filled <= memTableSize; filled += fillEach * fillBytes {
		err := j.db.Update(func(txn *badger.Txn) error {
			for i := range fillEach {
				if err := txn.Set([]byte{fillKind, byte(i)}, zeros); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
		if err != nil {
			return err
		}
	}
	err = j.db.Update(func(txn *badger.Txn) error {
		for i := range fillEach {
			if err := txn.Delete([]byte{fillKind, byte(i)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, flushWait)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for len(old) > 0 {
		if _, err := os.Stat(old[0]); errors.Is(err, os.ErrNotExist) {
			old = old[1:]
			continue
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// verify reads all tables against their checksums. Badger's iterators end
// silently at a block that fails them: what is behind it looks as if it had
// never been. So while the database is damaged, "there is none" is no answer.
func (j *Journal) verify() {
	j.merging.Lock()
	defer j.merging.Unlock()
	if j.readers.shut.Load() || j.db.IsClosed() {
		return
	}
	err := checksums(j.db)
	j.damaged.Store(err != nil)
	if err != nil {
		j.log.Error("the database is damaged, what it seems not to have is answered as not available; restore it from a copy or from other nodes",
			zap.String("dir", j.space.dir), zap.Error(err))
	}
}

// checksums is db.VerifyChecksum, which in Badger 4.9 follows a nil pointer
// where it means to say which block is damaged.
func checksums(db *badger.DB) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a block does not match its checksum (%v)", p)
		}
	}()
	return db.VerifyChecksum()
}

// measure notes how large the tables are.
func (j *Journal) measure() {
	if j.readers.enter() != nil {
		return
	}
	defer j.readers.leave()
	if j.db.IsClosed() {
		return // reopening it failed; its tables' memory is gone
	}
	var size int64
	for _, t := range j.db.Tables() {
		size += int64(t.OnDiskSize)
	}
	j.space.size.Store(size)
}

func (j *Journal) counts() map[record.Topic]int64 {
	j.committed.mu.Lock()
	defer j.committed.mu.Unlock()
	return maps.Clone(j.committed.totals.Counts)
}
