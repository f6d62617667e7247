package certstorage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/record"
)

// entry is what the local copy knows of one key.
type entry struct {
	Key     string      `json:"-"`
	Name    []byte      `json:"key"`               // the key, in the file
	Time    record.Time `json:"time"`              // of its record, or when it was stored here
	Pending bool        `json:"pending,omitempty"` // the engine has not been told
	Blind   bool        `json:"blind,omitempty"`   // pending, and made where the key was not known to exist
	Deleted bool        `json:"deleted,omitempty"` // pending: the key is to go
	Value   []byte      `json:"value,omitempty"`
}

// local is this node's copy of what is in the engine, one file a key, and of
// what is to go there. Until persist it writes to memory alone, so that a
// configuration that is only looked at changes nothing.
type local struct {
	dir string
	log *zap.Logger

	mu     sync.RWMutex
	memory map[string]entry // stored before persist; nil from then on
	index  map[string]entry // what the files hold, without the values; nil until it is needed
}

const suffix = ".json"

func openLocal(dir string, log *zap.Logger) *local {
	return &local{dir: dir, log: log, memory: make(map[string]entry)}
}

func (l *local) path(key string) string { return filepath.Join(l.dir, digest(key)[:40]+suffix) }

// get returns what is known of a key.
func (l *local) get(key string) (entry, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.find(key)
}

func (l *local) find(key string) (entry, bool) {
	if e, ok := l.memory[key]; ok {
		return e, true
	}
	if l.index != nil {
		if _, ok := l.index[key]; !ok {
			return entry{}, false
		}
	}
	e, err := readEntry(l.path(key))
	if err == nil && e.Key != key {
		err = errValue
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			l.log.Warn("reading the local copy of a certificate", zap.String("key", key), zap.Error(err))
		}
		return entry{}, false
	}
	return e, true
}

// all returns what is known of every key, without the values of the files.
func (l *local) all() (map[string]entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.load(); err != nil {
		return nil, err
	}
	list := maps.Clone(l.index)
	maps.Copy(list, l.memory)
	return list, nil
}

// load reads the folder, once.
func (l *local) load() error {
	if l.index != nil {
		return nil
	}
	files, err := os.ReadDir(l.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the local copy of the certificates: %w", err)
	}
	index := make(map[string]entry, len(files))
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), suffix) {
			continue
		}
		e, err := readEntry(filepath.Join(l.dir, f.Name()))
		if err == nil && filepath.Base(l.path(e.Key)) != f.Name() {
			err = errValue
		}
		if err != nil {
			l.log.Warn("reading the local copy of a certificate", zap.String("file", f.Name()), zap.Error(err))
			continue
		}
		e.Value = nil
		index[e.Key] = e
	}
	l.index = index
	return nil
}

// action is what is to be done with what is known of a key.
type action int

const (
	leave action = iota
	write
	drop
)

// change does with what is known of a key what f says; nothing else is done
// with it meanwhile.
func (l *local) change(key string, f func(old entry, ok bool) (entry, action, error)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	old, ok := l.find(key)
	e, do, err := f(old, ok)
	switch {
	case err != nil:
		return err
	case do == write:
		return l.write(e)
	case do == drop && ok:
		return l.drop(key)
	}
	return nil
}

// put keeps what f makes of what is known of a key, or leaves it as it is.
func (l *local) put(key string, f func(old entry, ok bool) (e entry, keep bool)) error {
	return l.change(key, func(old entry, ok bool) (entry, action, error) {
		e, keep := f(old, ok)
		if !keep {
			return e, leave, nil
		}
		return e, write, nil
	})
}

// remove forgets a key, if f agrees.
func (l *local) remove(key string, f func(old entry) bool) error {
	return l.change(key, func(old entry, ok bool) (entry, action, error) {
		if ok && f(old) {
			return old, drop, nil
		}
		return old, leave, nil
	})
}

func (l *local) write(e entry) error {
	if l.memory != nil {
		l.memory[e.Key] = e
		return nil
	}
	e.Name = []byte(e.Key)
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if err := replaceFile(l.path(e.Key), text); err != nil {
		return fmt.Errorf("writing the local copy of a certificate: %w", err)
	}
	if l.index != nil {
		e.Name, e.Value = nil, nil
		l.index[e.Key] = e
	}
	return nil
}

func (l *local) drop(key string) error {
	delete(l.memory, key)
	if err := os.Remove(l.path(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the local copy of a certificate: %w", err)
	}
	delete(l.index, key)
	return nil
}

// persist writes what was only in memory to the disk, and from then on
// everything.
func (l *local) persist() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.memory == nil {
		return nil
	}
	l.sweep()
	memory := l.memory
	l.memory = nil
	for key, e := range memory {
		if err := l.write(e); err != nil {
			l.memory = memory
			return err
		}
		delete(memory, key)
	}
	return nil
}

// unfinished is the name of a file that is being written, and an hour is more
// than that takes.
const (
	unfinished      = ".new-*"
	unfinishedAfter = time.Hour
)

// sweep removes what a process that was killed while it wrote has left behind:
// it may be a part of a private key. A file that a command writes at this moment
// stays.
func (l *local) sweep() {
	files, _ := os.ReadDir(l.dir) // not there yet, or told of by who reads the copies
	for _, f := range files {
		if ours, _ := filepath.Match(unfinished, f.Name()); !ours {
			continue
		}
		info, err := f.Info()
		if err != nil || !info.Mode().IsRegular() || time.Since(info.ModTime()) < unfinishedAfter {
			continue
		}
		path := filepath.Join(l.dir, f.Name())
		if err := os.Remove(path); err != nil {
			l.log.Warn("removing an unfinished local copy of a certificate", zap.String("file", path), zap.Error(err))
		}
	}
}

func readEntry(path string) (entry, error) {
	var e entry
	text, err := os.ReadFile(path)
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal(text, &e); err != nil {
		return e, fmt.Errorf("%w: %w", errValue, err)
	}
	if e.Key, e.Name = string(e.Name), nil; e.Value == nil {
		e.Value = []byte{}
	}
	return e, nil
}

// replaceFile replaces a file so that a crash leaves the old or the new one.
// Nobody else may read it: it may hold a private key.
func replaceFile(path string, text []byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), unfinished) // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}
