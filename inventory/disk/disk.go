// Package disk is a store's root as the file system shows it: its marker and
// lock, where a clone lies, and the few operations that writing, reading and
// scanning are made of. It knows nothing of records.
//
// Where the system allows it, all operations go through one handle of the
// root's folder, so that nothing is written to what appears under the same
// path once the medium is unmounted.
package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// The names in a store's root. Nothing else is expected there but lost+found.
const (
	MarkerName = "oose.json"
	Content    = "content"
	Temp       = "tmp"
	Quarantine = "quarantine"
	Cache      = "cache"
	lostFound  = "lost+found"
)

// tempSuffix ends the names of temporary files, which belong to whoever holds
// the root's lock and go when it is taken.
const tempSuffix = ".part"

// Info is what the file system says about a file.
type Info struct {
	Size    int64 // bytes
	Mtime   int64 // last written, nanoseconds since 1970
	Ctime   int64 // last changed, renaming included, nanoseconds since 1970; Mtime where the system has none
	Regular bool  // no folder, link or device
}

// Space is how much a file system holds.
type Space struct {
	Free  int64 // bytes that this process may still write
	Total int64 // bytes
}

// Hook is called before each operation with its name and the path below the
// root; its error is the operation's. Tests crash, fail and hang disks with it.
type Hook func(op, rel string) error

// Fault tells what a failed operation says about the disk.
type Fault uint8

// The faults on which a store's state depends.
const (
	None     Fault = iota // nothing about the disk
	Full                  // no space, or none left under a quota
	ReadOnly              // the file system can't be written
	Failing               // the medium or its connection is broken
)

// FaultOf classifies an error.
func FaultOf(err error) Fault {
	switch {
	case err == nil:
		return None
	case isAny(err, fullErrors):
		return Full
	case isAny(err, readOnlyErrors):
		return ReadOnly
	case isAny(err, failingErrors):
		return Failing
	}
	return None
}

func isAny[E error](err error, kinds []E) bool {
	for _, k := range kinds {
		if errors.Is(err, k) {
			return true
		}
	}
	return false
}

// Permissions before the umask. Files are readable by others, as OOSE 2.x left
// them, for web servers that read the tree.
const (
	filePerm fs.FileMode = 0o644
	dirPerm  fs.FileMode = 0o755
)

// Path returns the path the root was attached by.
func (r *Root) Path() string { return r.path }

// Marker returns what the root's marker says.
func (r *Root) Marker() Marker { return r.marker }

// Present returns an error where the root's path does not lead to this root
// any more: it was unmounted, renamed or lost its marker; with mount, also where
// it is no mount point.
func (r *Root) Present(mount bool) error {
	if err := r.before("present", MarkerName); err != nil {
		return err
	}
	now, err := os.Stat(r.join(MarkerName))
	if err != nil {
		return err
	}
	held, err := r.lock.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(now, held) {
		return errors.New("another marker lies there")
	}
	if mount {
		mounted, err := isMountPoint(r.path)
		if err == nil && !mounted {
			err = errors.New("no medium is mounted there")
		}
		return err
	}
	return nil
}

func (r *Root) before(op, rel string) error {
	if r.hook == nil {
		return nil
	}
	if err := r.hook(op, rel); err != nil {
		return &fs.PathError{Op: op, Path: rel, Err: err}
	}
	return nil
}

// ErrSync says that something could not be made durable.
var ErrSync = errors.New("sync failed")

// Sync makes a file that was opened here durable. A failure, ErrSync, is final:
// what the system could not write it may have forgotten, and a second call
// would succeed without it.
func (r *Root) Sync(f *os.File) error {
	err := r.before("sync", f.Name())
	if err == nil {
		err = f.Sync()
	}
	return syncError(err)
}

// SyncDir makes what was created in, renamed into or removed from a folder
// durable, where the system has a call for that. Its failure is final as well.
func (r *Root) SyncDir(rel string) error { return syncError(r.syncDir(rel)) }

func syncError(err error) error {
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrSync, err)
}
