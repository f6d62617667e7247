package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"
)

// FileName is the log's name in the data folder. Older ones have a number
// behind it, the oldest the greatest.
const FileName = "audit.log"

// ErrWaiting says that an entry is not on the disk yet. It is in the node's
// log, and is written when the disk takes it.
var ErrWaiting = errors.New("the audit log can't be written now; the entry waits")

var errClosed = errors.New("it is closed")

// Bounds of the log.
const (
	maxFile    = 16 << 20         // bytes of one file
	maxFiles   = 10               // of them, the one that is written to included
	maxWaiting = 10_000           // entries in memory while the disk takes none
	tryAgain   = 10 * time.Second // until what waits is tried again
)

// line is an entry as it is written.
type line struct {
	number uint64
	text   []byte
}

// Log is the audit log of one node. Its methods can be called at the same time.
type Log struct {
	folder string
	node   string
	log    *zap.Logger
	now    func() time.Time

	fileLen int64 // bytes after which a file is rotated
	files   int
	write   func(f *os.File, b []byte) error // writes and syncs

	mu      sync.Mutex
	settled sync.Cond // on mu: a batch has been written, or has failed
	waiting []line    // in order, not on the disk
	number  uint64    // of the last entry
	done    uint64    // of the last one that is on the disk
	lost    int64     // entries that waited and had to go
	last    time.Time // of the last entry, zero: not known yet
	writing bool      // a goroutine has the file, which needs no mu then
	failure error     // of the last attempt to write, nil: it went well
	since   time.Time // when it began to fail
	closed  bool
	file    *os.File // nil: to be opened
	size    int64    // of file, bytes
}

// New returns the log in a folder, for the node of that name. Nothing is opened
// until something is written. Run tries again what could not be written; Close
// ends it.
func New(folder, node string, log *zap.Logger) *Log {
	l := &Log{folder: folder, node: node, log: log, now: time.Now, fileLen: maxFile, files: maxFiles, write: writeSynced}
	l.settled.L = &l.mu
	return l
}

func writeSynced(f *os.File, b []byte) error {
	if _, err := f.Write(b); err != nil {
		return err
	}
	return f.Sync()
}

// Add writes an entry and returns when it is on the disk. Its error is
// ErrWaiting: the entry is not lost, and what it tells of must not be undone.
func (l *Log) Add(e Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.learnTime()
	e.Time, e.Node = l.nextTime(), l.node
	text, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encoding an audit entry: %w", err)
	}
	l.number++
	mine := l.number
	l.waiting = append(l.waiting, line{mine, append(text, '\n')})
	l.flush(mine)
	if l.done >= mine {
		return nil
	}
	cause := l.failure
	if l.closed {
		cause = errClosed
	}
	l.log.Error("the audit log can't be written; this entry waits in memory", zap.ByteString("entry", text), zap.Error(cause))
	if over := len(l.waiting) - maxWaiting; over > 0 {
		l.waiting = l.waiting[over:]
		l.lost += int64(over)
	}
	return fmt.Errorf("%w: %w", ErrWaiting, cause)
}

// nextTime is later than that of every entry before. l.mu is held.
func (l *Log) nextTime() time.Time {
	now := l.now().UTC().Truncate(time.Microsecond)
	if !now.After(l.last) {
		now = l.last.Add(time.Microsecond)
	}
	l.last = now
	return now
}

// flush writes what waits, up to an entry at least, unless another goroutine
// does. l.mu is held, and is let go meanwhile.
func (l *Log) flush(upTo uint64) {
	for l.done < upTo {
		if l.writing {
			l.settled.Wait()
			continue
		}
		if len(l.waiting) == 0 || l.closed {
			return
		}
		batch := l.waiting
		l.writing = true
		l.mu.Unlock()
		written, err := l.append(batch)
		l.mu.Lock()
		l.writing = false
		if written > 0 {
			l.done = batch[written-1].number
			for len(l.waiting) > 0 && l.waiting[0].number <= l.done {
				l.waiting = l.waiting[1:]
			}
		}
		l.note(err)
		l.settled.Broadcast()
		if err != nil {
			return
		}
	}
}

// note remembers how the last attempt went. l.mu is held.
func (l *Log) note(err error) {
	switch {
	case err != nil && l.failure == nil:
		l.since = l.now()
	case err == nil && l.failure != nil:
		l.log.Info("the audit log is written again", zap.Int("waiting", len(l.waiting)))
		l.since = time.Time{}
	}
	l.failure = err
}

// append writes lines and returns how many of them are on the disk. One
// goroutine at a time calls it.
func (l *Log) append(lines []line) (written int, err error) {
	for written < len(lines) {
		if err := l.open(); err != nil {
			return written, err
		}
		var batch bytes.Buffer
		n := written
		for n < len(lines) && (n == written || l.size+int64(batch.Len()+len(lines[n].text)) <= l.fileLen) {
			batch.Write(lines[n].text)
			n++
		}
		if err := l.write(l.file, batch.Bytes()); err != nil {
			return written, errors.Join(fmt.Errorf("writing the audit log: %w", err), l.cutBack())
		}
		l.size += int64(batch.Len())
		written = n
		if l.size >= l.fileLen {
			if err := l.rotate(); err != nil {
				// What was written is on the disk; the next one tries again.
				l.log.Warn("rotating the audit log", zap.Error(err))
			}
		}
	}
	return written, nil
}

// cutBack takes half a line off the file, after a write that failed, and has it
// opened anew.
func (l *Log) cutBack() error {
	f := l.file
	l.file = nil
	return errors.Join(f.Truncate(l.size), f.Close())
}

// open opens the file where it is not, behind what is there. A line that a
// crash cut short is ended.
func (l *Log) open() error {
	if l.file != nil {
		return nil
	}
	path := filepath.Join(l.folder, FileName)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("opening the audit log: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Size() == 0 {
		err = syncFolder(l.folder)
	}
	if err == nil && info.Size() > 0 {
		end := make([]byte, 1)
		if _, err = f.ReadAt(end, info.Size()-1); err == nil && end[0] != '\n' {
			_, err = f.Write([]byte("\n"))
		}
	}
	if err == nil {
		info, err = f.Stat()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("opening the audit log: %w", err), f.Close())
	}
	l.file, l.size = f, info.Size()
	return nil
}

// Run tries again, now and then, what could not be written, until ctx ends.
func (l *Log) Run(ctx context.Context) error {
	ticker := time.NewTicker(tryAgain)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
			l.retry()
		}
	}
}

func (l *Log) retry() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) > 0 {
		l.flush(l.number)
	}
}

// Close writes what waits and closes the file. What can't be written by then is
// in the node's log alone.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.flush(l.number)
	for l.writing {
		l.settled.Wait()
	}
	l.closed = true
	if l.file == nil {
		return nil
	}
	f := l.file
	l.file = nil
	return f.Close()
}

// Status tells how the log is.
type Status struct {
	Waiting int    `json:"waiting"`         // entries that are not on the disk
	Lost    int64  `json:"lost"`            // entries that waited and had to go: the node's log has them
	Error   string `json:"error,omitempty"` // why it is not written
	Since   int64  `json:"since,omitempty"` // since when, milliseconds since 1970
}

// Status tells whether entries wait.
func (l *Log) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Status{Waiting: len(l.waiting), Lost: l.lost}
	if l.failure != nil {
		s.Error, s.Since = l.failure.Error(), l.since.UnixMilli()
	}
	return s
}
