package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Options says which root Attach takes.
type Options struct {
	Name    string // the store's name, for a new marker and for messages
	KnownID string // the only id that is taken, "": any, and a root without one gets a new one
	Mount   bool   // the root must be a mount point
	Adopt   bool   // the operator's word: take what is there, whatever KnownID says
	// Known is asked before a root gets a marker: for the id that is known by now, ""
	// where there is none. Its error refuses, also what is to be adopted. nil: KnownID
	// says it.
	Known func() (id string, err error)
	Claim func(id string) error
	Hook  Hook
}

// Attach takes a root: it locks the marker against other processes and a
// second use in this one, and removes what dead processes left in tmp. A root
// that is missing or holds nothing but a store's folders gets its marker,
// unless its id is known already. Its error wraps ErrRefused where the root is
// not to be touched.
func Attach(path string, o Options) (*Root, error) {
	if o.Hook != nil {
		if err := o.Hook("attach", "."); err != nil {
			return nil, fmt.Errorf("attaching %s: %w", path, err)
		}
	}
	r, err := attach(path, o)
	if err != nil {
		return nil, fmt.Errorf("attaching %s: %w", path, err)
	}
	return r, nil
}

func attach(path string, o Options) (*Root, error) {
	s, err := look(path, o.Mount)
	if err != nil {
		return nil, err
	}
	write, err := decide(s, o)
	if err == nil && write && o.Known != nil {
		if o.KnownID, err = o.Known(); err != nil {
			return nil, refused("%v", err)
		}
		write, err = decide(s, o)
	}
	if err != nil {
		return nil, err
	}
	if !s.exists {
		if err := makeRoot(path); err != nil {
			return nil, err
		}
	}
	if write {
		if err := mark(path, o); err != nil {
			return nil, err
		}
	}
	// A handle that can't write: one that could would keep the operator from
	// remounting the file system read-only.
	lock, err := os.Open(filepath.Join(path, MarkerName))
	if err != nil {
		return nil, err
	}
	r, err := take(path, lock, o)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return r, nil
}

// mark gives a root a new identity, unless somebody else just did.
func mark(path string, o Options) error {
	f, err := os.OpenFile(filepath.Join(path, MarkerName), os.O_RDWR|os.O_CREATE, filePerm)
	if err != nil {
		return err
	}
	err = func() error {
		if err := lockFile(f); err != nil {
			return err
		}
		m, marked, err := readMarker(f)
		if marked && (!o.Adopt || err == nil && m.ID != "") {
			return nil
		}
		if err := writeMarker(f, o.Name); err != nil {
			return fmt.Errorf("writing the marker: %w", err)
		}
		return syncPath(path)
	}()
	return errors.Join(err, f.Close())
}

// take goes on once the marker's file is open: lock, identity, folders.
func take(path string, lock *os.File, o Options) (*Root, error) {
	if err := lockFile(lock); err != nil {
		return nil, err
	}
	m, marked, err := readMarker(lock)
	if err != nil {
		return nil, fmt.Errorf("reading the marker: %w", err)
	}
	if !marked || o.KnownID != "" && m.ID != o.KnownID && !o.Adopt {
		return nil, refused("its marker %s changed meanwhile", MarkerName)
	}
	if o.Claim != nil {
		if err := o.Claim(m.ID); err != nil {
			return nil, refused("%v", err)
		}
	}
	r, err := open(path)
	if err != nil {
		return nil, err
	}
	r.path, r.lock, r.marker, r.hook = path, lock, m, o.Hook
	if err := r.prepare(); err != nil {
		return nil, errors.Join(err, r.closeDir())
	}
	return r, nil
}

// prepare makes the store's folders and removes old temporary files. A
// read-only file system is left as it is.
func (r *Root) prepare() error {
	err := func() error {
		// First what dead processes left: on a full disk, that is the room for
		// what follows.
		if err := r.sweepTemp(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, dir := range []string{Content, Temp, Quarantine, Cache} {
			if err := r.mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("making %s: %w", dir, err)
			}
		}
		return r.SyncDir(".")
	}()
	if FaultOf(err) == ReadOnly || FaultOf(err) == Full {
		return nil
	}
	return err
}

func (r *Root) sweepTemp() error {
	entries, err := os.ReadDir(r.join(Temp))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type().IsRegular() && strings.HasSuffix(e.Name(), tempSuffix) {
			if err := r.Remove(Temp + "/" + e.Name()); err != nil {
				return fmt.Errorf("removing an old temporary file: %w", err)
			}
		}
	}
	return nil
}

// makeRoot makes a new store's folder, and those above it that are missing, durably.
func makeRoot(path string) error {
	var missing []string // the innermost first
	for dir := path; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			break
		}
		missing = append(missing, dir)
	}
	if err := os.MkdirAll(path, dirPerm); err != nil {
		return err
	}
	for _, dir := range missing {
		if err := syncPath(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	return nil
}

// Close lets go of the root. Operations under way may finish.
func (r *Root) Close() error {
	return errors.Join(r.closeDir(), r.lock.Close())
}
