//go:build linux || darwin || freebsd

package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var (
	fullErrors     = []error{unix.ENOSPC, unix.EDQUOT}
	readOnlyErrors = []error{unix.EROFS}
	failingErrors  = append([]error{unix.EIO, unix.ENXIO, unix.ENODEV, unix.ESTALE}, moreFailing...)
)

// Root is a store's root, held by its marker's lock.
type Root struct {
	path   string
	lock   *os.File // the marker
	marker Marker
	hook   Hook

	durable durable

	dir  *os.File
	conn syscall.RawConn // keeps dir open while an operation uses it
}

func open(path string) (*Root, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	conn, err := dir.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return &Root{dir: dir, conn: conn}, nil
}

func (r *Root) closeDir() error { return r.dir.Close() }

func (r *Root) join(rel string) string { return filepath.Join(r.path, rel) }

// at runs one system call relative to the root's folder.
func (r *Root) at(op, rel string, call func(dir int) error) error {
	if err := r.before(op, rel); err != nil {
		return err
	}
	var err error
	if r.conn.Control(func(fd uintptr) {
		for {
			if err = call(int(fd)); err != unix.EINTR {
				return
			}
		}
	}) != nil {
		err = fs.ErrClosed
	}
	if err == unix.ENOTDIR && (op == "open" || op == "stat") {
		err = fs.ErrNotExist // there is a file where a folder was
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: rel, Err: err}
	}
	return nil
}

// Open opens a file for reading and tells what it is: two system calls.
func (r *Root) Open(rel string) (*os.File, Info, error) {
	var o struct {
		fd int
		st unix.Stat_t
	}
	err := r.at("open", rel, func(dir int) (err error) {
		if o.fd, err = unix.Openat(dir, rel, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err != nil {
			return err
		}
		if err = unix.Fstat(o.fd, &o.st); err != nil {
			unix.Close(o.fd)
		}
		return err
	})
	if err != nil {
		return nil, Info{}, err
	}
	info := infoOf(&o.st)
	if !info.Regular {
		unix.Close(o.fd)
		return nil, Info{}, &fs.PathError{Op: "open", Path: rel, Err: errors.New("not a regular file")}
	}
	return os.NewFile(uintptr(o.fd), rel), info, nil
}

// Create makes a new file, and its folders where they are missing.
func (r *Root) Create(rel string) (*os.File, error) {
	var fd int
	create := func() error {
		return r.at("create", rel, func(dir int) (err error) {
			fd, err = unix.Openat(dir, rel, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, uint32(filePerm))
			return err
		})
	}
	err := create()
	if errors.Is(err, fs.ErrNotExist) {
		if err = r.MakeParents(rel); err == nil {
			err = create()
		}
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), rel), nil
}

// openTest opens the file of TestWrite, made anew where it is missing.
func (r *Root) openTest() (*os.File, error) {
	var fd int
	err := r.at("create", testName, func(dir int) (err error) {
		fd, err = unix.Openat(dir, testName, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, uint32(filePerm))
		return err
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), testName), nil
}

// Stat tells what a path is, without following a link.
func (r *Root) Stat(rel string) (Info, error) {
	var st unix.Stat_t
	err := r.at("stat", rel, func(dir int) error {
		return unix.Fstatat(dir, rel, &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	return infoOf(&st), err
}

// Rename moves a file; what was at the new path is replaced.
func (r *Root) Rename(from, to string) error {
	return r.at("rename", to, func(dir int) error { return unix.Renameat(dir, from, dir, to) })
}

// Remove removes a file.
func (r *Root) Remove(rel string) error {
	return r.at("remove", rel, func(dir int) error { return unix.Unlinkat(dir, rel, 0) })
}

func (r *Root) mkdir(rel string) error {
	return r.at("mkdir", rel, func(dir int) error { return unix.Mkdirat(dir, rel, uint32(dirPerm)) })
}

func (r *Root) touch(rel string, at time.Time) error {
	t, err := unix.TimeToTimespec(at)
	if err != nil {
		return err
	}
	return r.at("touch", rel, func(dir int) error {
		return unix.UtimesNanoAt(dir, rel, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
	})
}

func (r *Root) syncDir(rel string) error {
	return r.at("syncdir", rel, func(dir int) error {
		fd, err := unix.Openat(dir, rel, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		return errors.Join(unix.Fsync(fd), unix.Close(fd))
	})
}

// Space tells how much room the file system has.
func (r *Root) Space() (Space, error) {
	var st unix.Statfs_t
	err := r.at("space", ".", func(dir int) error { return unix.Fstatfs(dir, &st) })
	size := int64(st.Bsize)
	return Space{Free: max(0, int64(st.Bavail)) * size, Total: int64(st.Blocks) * size}, err
}

func infoOf(st *unix.Stat_t) Info {
	return Info{Size: st.Size, Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano(), Regular: st.Mode&unix.S_IFMT == unix.S_IFREG}
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
	info := Info{Size: fi.Size(), Mtime: fi.ModTime().UnixNano(), Regular: fi.Mode().IsRegular()}
	info.Ctime = info.Mtime
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		info.Ctime = ctimeOf(st)
	}
	return info
}

func syncPath(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func lockFile(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return refused("it is in use, by another process or a second time in this one")
	}
	return err
}
