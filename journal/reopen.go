package journal

import (
	"fmt"

	"go.uber.org/zap"

	"github.com/ooseio/oose/record"
)

// room tells whether a batch may be written. When the disk comes below the
// floor, or has room again, it has the database follow. The committer calls it.
func (j *Journal) room() error {
	err := j.space.check()
	if cramped := err != nil; cramped != j.cramped {
		if reopening := j.reopen(cramped); reopening != nil {
			return reopening
		}
	}
	return err
}

// reopen closes the database and opens it for a cramped disk or for one with
// room. Refusing updates is not enough when the disk is full: Badger goes on
// merging what was written before, and would meet the full disk in a memory
// map. A database that was closed has nothing left in memory, and one that is
// opened without compactors writes nothing by itself. Readers wait meanwhile.
func (j *Journal) reopen(cramped bool) error {
	if !j.merging.TryLock() {
		return fmt.Errorf("%w: the database is being merged", record.ErrUnavailable)
	}
	defer j.merging.Unlock()
	if cramped {
		if err := j.space.ready(); err != nil {
			return err // closing would write a table
		}
	}
	err := j.readers.exclusive(func() error {
		if err := j.db.Close(); err != nil {
			return err
		}
		db, err := openBadger(badgerOptions(j.space.dir, j.log, cramped))
		if err == nil {
			j.db = db
		}
		return err
	})
	if err != nil {
		return j.fail(fmt.Errorf("reopening the database: %w", err))
	}
	j.cramped = cramped
	return nil
}

// fail has every later update refused until a restart.
func (j *Journal) fail(err error) error {
	err = fmt.Errorf("%w: restart when the disk of the database is sound: %w", record.ErrUnavailable, err)
	j.committed.mu.Lock()
	j.committed.failure = err
	j.committed.mu.Unlock()
	j.log.Error("the database failed, no record is written until a restart", zap.Error(err))
	return err
}
