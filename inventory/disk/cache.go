package disk

import (
	"errors"
	"io/fs"
	"os"
	"time"
)

// MakeDir makes a folder that may be lost again in a crash.
func (r *Root) MakeDir(rel string) error {
	if err := r.mkdir(rel); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// Touch sets when a file was last written, which copies keep their last use in.
func (r *Root) Touch(rel string, at time.Time) error { return r.touch(rel, at) }

// Files calls f with every file directly in a folder. One that is missing is
// empty.
func (r *Root) Files(rel string, f func(name string, info Info)) error {
	if err := r.before("list", rel); err != nil {
		return err
	}
	entries, err := os.ReadDir(r.join(rel))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		fi, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		f(e.Name(), infoFrom(fi))
	}
	return nil
}
