package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"time"
)

// maxLine bounds one line that is read, in bytes.
const maxLine = 1 << 20

// Read yields the entries on the disk that are later than after, the oldest
// first. Lines that are none, as one that a crash cut short, are passed over. It
// ends at its first error.
func (l *Log) Read(after time.Time) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		files, err := l.snapshot()
		defer func() {
			for _, f := range files {
				_ = f.Close() // it was only read
			}
		}()
		if err != nil {
			yield(Entry{}, err)
			return
		}
		for _, f := range files {
			for e, err := range entries(f) {
				if err != nil {
					yield(Entry{}, fmt.Errorf("reading the audit log: %w", err))
					return
				}
				if e.Time.After(after) && !yield(e, nil) {
					return
				}
			}
		}
	}
}

// snapshot opens all files there are, the oldest first, with no rotation in
// between.
func (l *Log) snapshot() (files []*os.File, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.writing {
		l.settled.Wait()
	}
	for n := l.files; n >= 0; n-- {
		f, err := os.Open(l.older(n))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return files, fmt.Errorf("opening the audit log: %w", err)
		}
		files = append(files, f)
	}
	return files, nil
}

// entries yields those of one file.
func entries(r io.Reader) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, maxLine)
		for lines.Scan() {
			var e Entry
			if json.Unmarshal(lines.Bytes(), &e) == nil && e.Action != "" && !yield(e, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(Entry{}, err)
		}
	}
}

// learnTime finds the time of the last entry that a former process wrote, so
// that times only grow. l.mu is held.
func (l *Log) learnTime() {
	if !l.last.IsZero() {
		return
	}
	l.last = time.Unix(0, 0).UTC()
	for _, n := range []int{0, 1} {
		f, err := os.Open(l.older(n))
		if err != nil {
			continue // then nothing is known of it, and the clock decides
		}
		for e, err := range entries(f) {
			if err == nil && e.Time.After(l.last) {
				l.last = e.Time
			}
		}
		_ = f.Close() // it was only read
		if l.last.Unix() > 0 {
			return
		}
	}
}
