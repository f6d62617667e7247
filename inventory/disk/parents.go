package disk

import (
	"errors"
	"io/fs"
)

// MakeParents makes the folders of a path that are missing, each durably, the
// outermost first.
func (r *Root) MakeParents(rel string) error {
	dirs := parents(rel)
	first := len(dirs)
	for first > 0 {
		_, err := r.Stat(dirs[first-1])
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		first--
	}
	for _, dir := range dirs[first:] {
		// Somebody who made it at the same time may not have synced it yet, so
		// that is done in either case.
		if err := r.mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := r.SyncDir(DirOf(dir)); err != nil {
			return err
		}
	}
	return nil
}
