package journal

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// folder makes the names in the database's folder durable. Badger syncs the
// write-ahead file that it has begun, but not the folder in which its name
// stands: after a power failure what was acknowledged could lie in a file that
// has no name.
type folder struct {
	path   string
	sync   func(path string) error
	synced time.Time // the folder's time of change when it was last synced; zero: to be synced
}

// settledAfter is how long a file system may give two changes the same time.
const settledAfter = 30 * time.Millisecond

// settle syncs the folder where it may have changed since that was last done.
func (f *folder) settle() error {
	info, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	changed := info.ModTime()
	if changed.Equal(f.synced) {
		return nil
	}
	if err := f.sync(f.path); err != nil {
		return err
	}
	if age := time.Since(changed); age > settledAfter {
		f.synced = changed // another change would have shown
	}
	return nil
}

func syncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil // it has no call for that
	}
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// makeFolder makes a folder and those above it that are missing, durably.
func makeFolder(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	var missing []string // the innermost first
	for dir := path; ; dir = filepath.Dir(dir) {
		_, err := os.Stat(dir)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return err
		}
		missing = append(missing, dir)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	for _, dir := range missing {
		if err := syncFolder(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	return nil
}
