package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// older is the path of the nth older file, from 1; 0 is the one written to.
func (l *Log) older(n int) string {
	path := filepath.Join(l.folder, FileName)
	if n > 0 {
		path += "." + strconv.Itoa(n)
	}
	return path
}

// rotate begins a new file; the oldest goes. A crash between two renames
// leaves a gap in the numbers, and no entry missing.
func (l *Log) rotate() error {
	f := l.file
	l.file, l.size = nil, 0
	if err := f.Close(); err != nil {
		return fmt.Errorf("closing a full file: %w", err)
	}
	for n := l.files - 1; n > 0; n-- {
		err := os.Rename(l.older(n-1), l.older(n))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if l.files == 1 {
		if err := os.Remove(l.older(0)); err != nil {
			return err
		}
	}
	return syncFolder(l.folder)
}
