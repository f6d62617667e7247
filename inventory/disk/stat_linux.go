package disk

import (
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

var moreFailing = []error{unix.EUCLEAN, unix.EREMOTEIO, unix.ENOMEDIUM}

func ctimeOf(st *syscall.Stat_t) int64 { return st.Ctim.Nano() }

// isMountPoint asks the kernel (5.8 and later), which also knows bind mounts,
// else compares the device with the parent's.
func isMountPoint(path string) (bool, error) {
	var sx unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_BASIC_STATS, &sx); err == nil && sx.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return sx.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
	}
	return otherDevice(path)
}

func otherDevice(path string) (bool, error) {
	here, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	above, err := os.Stat(filepath.Join(path, ".."))
	if err != nil {
		return false, err
	}
	a, b := here.Sys().(*syscall.Stat_t), above.Sys().(*syscall.Stat_t)
	return a.Dev != b.Dev || a.Ino == b.Ino, nil
}

// Preallocate reserves a new file's space, so that a disk without room says so
// at once. File systems that can't are left alone.
func (r *Root) Preallocate(f *os.File, size int64) error {
	if err := r.before("preallocate", f.Name()); err != nil {
		return err
	}
	err := unix.EINTR
	for err == unix.EINTR {
		errno := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size)
		if errno == nil {
			return nil
		}
		err, _ = errno.(unix.Errno)
	}
	if err == unix.EOPNOTSUPP || err == unix.ENOSYS {
		return nil
	}
	return &os.PathError{Op: "preallocate", Path: f.Name(), Err: err}
}

// StartWriteback has the system begin to write a part of a file, so that the
// sync at its end finds little left. It reports and loses no error.
func StartWriteback(f *os.File, offset, length int64) {
	_ = unix.SyncFileRange(int(f.Fd()), offset, length, unix.SYNC_FILE_RANGE_WRITE)
}

// Forget gives a part of a file back from the system's cache, so that it is read
// from the medium the next time.
func Forget(f *os.File, offset, length int64) {
	_ = unix.Fadvise(int(f.Fd()), offset, length, unix.FADV_DONTNEED)
}
