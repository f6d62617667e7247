package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/windows"
)

var (
	fullErrors     = []error{windows.ERROR_DISK_FULL, windows.ERROR_HANDLE_DISK_FULL, windows.ERROR_DISK_QUOTA_EXCEEDED}
	readOnlyErrors = []error{windows.ERROR_WRITE_PROTECT}
	failingErrors  = []error{windows.ERROR_CRC, windows.ERROR_IO_DEVICE, windows.ERROR_NOT_READY, windows.ERROR_DEV_NOT_EXIST, windows.ERROR_FILE_CORRUPT, windows.ERROR_DISK_CORRUPT}
)

// Root is a store's root, held by its marker's lock. On Windows its operations
// go by path, and making a folder's entries durable is left to the system.
type Root struct {
	path   string
	lock   *os.File // the marker
	marker Marker
	hook   Hook

	durable durable
}

func open(path string) (*Root, error) {
	fi, err := os.Stat(path)
	if err == nil && !fi.IsDir() {
		err = errors.New("not a folder")
	}
	return &Root{}, err
}

func (r *Root) closeDir() error { return nil }

func (r *Root) join(rel string) string { return filepath.Join(r.path, filepath.FromSlash(rel)) }

// Open opens a file for reading and tells what it is.
func (r *Root) Open(rel string) (*os.File, Info, error) {
	if err := r.before("open", rel); err != nil {
		return nil, Info{}, err
	}
	f, err := os.Open(r.join(rel))
	if err != nil {
		return nil, Info{}, err
	}
	info, err := InfoOf(f)
	if err == nil && !info.Regular {
		err = errors.New("not a regular file")
	}
	if err != nil {
		return nil, Info{}, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// Create makes a new file, and its folders where they are missing.
func (r *Root) Create(rel string) (*os.File, error) {
	if err := r.before("create", rel); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(r.join(rel), os.O_RDWR|os.O_CREATE|os.O_EXCL, filePerm)
	if errors.Is(err, fs.ErrNotExist) {
		if err = r.MakeParents(rel); err == nil {
			f, err = os.OpenFile(r.join(rel), os.O_RDWR|os.O_CREATE|os.O_EXCL, filePerm)
		}
	}
	return f, err
}

// openTest opens the file of TestWrite, made anew where it is missing.
func (r *Root) openTest() (*os.File, error) {
	return os.OpenFile(r.join(testName), os.O_RDWR|os.O_CREATE, filePerm)
}

// Stat tells what a path is, without following a link.
func (r *Root) Stat(rel string) (Info, error) {
	if err := r.before("stat", rel); err != nil {
		return Info{}, err
	}
	fi, err := os.Lstat(r.join(rel))
	if err != nil {
		return Info{}, err
	}
	return infoFrom(fi), nil
}

// Rename moves a file; what was at the new path is replaced.
func (r *Root) Rename(from, to string) error {
	if err := r.before("rename", to); err != nil {
		return err
	}
	return os.Rename(r.join(from), r.join(to))
}

// Remove removes a file.
func (r *Root) Remove(rel string) error {
	if err := r.before("remove", rel); err != nil {
		return err
	}
	return os.Remove(r.join(rel))
}

func (r *Root) mkdir(rel string) error {
	if err := r.before("mkdir", rel); err != nil {
		return err
	}
	return os.Mkdir(r.join(rel), dirPerm)
}

func (r *Root) touch(rel string, at time.Time) error {
	if err := r.before("touch", rel); err != nil {
		return err
	}
	return os.Chtimes(r.join(rel), at, at)
}

// syncDir does nothing: Windows has no call that makes a folder's entries
// durable, and NTFS keeps a journal of them.
func (r *Root) syncDir(rel string) error { return r.before("syncdir", rel) }

// Space tells how much room the file system has.
func (r *Root) Space() (Space, error) {
	if err := r.before("space", "."); err != nil {
		return Space{}, err
	}
	path, err := windows.UTF16PtrFromString(r.path)
	if err != nil {
		return Space{}, err
	}
	var free, total uint64
	err = windows.GetDiskFreeSpaceEx(path, &free, &total, nil)
	return Space{Free: int64(free), Total: int64(total)}, err
}

// InfoOf tells what an open file is.
func InfoOf(f *os.File) (Info, error) {
	fi, err := f.Stat()
	if err != nil {
		return Info{}, err
	}
	return infoFrom(fi), nil
}

func infoFrom(fi fs.FileInfo) Info {
	mtime := fi.ModTime().UnixNano()
	return Info{Size: fi.Size(), Mtime: mtime, Ctime: mtime, Regular: fi.Mode().IsRegular()}
}

func syncPath(string) error { return nil }

func lockFile(f *os.File) error {
	// Behind the end of any marker, so that others can still read it.
	at := &windows.Overlapped{Offset: 1 << 20}
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, at)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return refused("it is in use, by another process or a second time in this one")
	}
	return err
}

// isMountPoint tells whether a folder is the root of a drive or of a mounted
// folder.
func isMountPoint(path string) (bool, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return false, err
	}
	buf := make([]uint16, windows.MAX_PATH+1)
	if err := windows.GetVolumePathName(name, &buf[0], uint32(len(buf))); err != nil {
		return false, err
	}
	return filepath.Clean(windows.UTF16ToString(buf)) == filepath.Clean(path), nil
}
