package disk

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// window is how many bytes are given back at once: a multiple of whatever
	// the system caches in one piece.
	window = 8 << 20
	// readAhead is how far ahead of the reader the disk is kept busy.
	readAhead = 2 << 20
)

// Once is a file that is read once, from its beginning to its end, without
// pushing out of the system's cache what others read: the pages that reading it
// brought in go again, those that were there before stay. The system's own
// reading ahead is off, because it goes as far as it is set to, and what it had
// brought would seem to have been there before.
//
// The system tells what it has cached only to a file's owner and to whoever may
// write it; for others it claims to have all of it, and nothing is given back.
type Once struct {
	conn  syscall.RawConn
	size  int64
	asked int64     // up to where the disk was asked to read ahead
	done  int64     // up to where pages were given back
	was   [2][]byte // whether each page of the two windows from done on was cached; nil: not known
}

// ReadOnce prepares for reading a file once. It must be at its beginning.
func ReadOnce(f *os.File) *Once {
	o := &Once{}
	conn, err := f.SyscallConn()
	if err != nil {
		return o
	}
	o.conn = conn
	_ = conn.Control(func(fd uintptr) {
		var st unix.Stat_t
		if unix.Fstat(int(fd), &st) == nil {
			o.size = st.Size
		}
		_ = unix.Fadvise(int(fd), 0, 0, unix.FADV_RANDOM)
		o.was[0], o.was[1] = cached(int(fd), 0, o.size), cached(int(fd), window, o.size)
	})
	return o
}

// Passed says how far the file was read, and whether that is all. It may block
// as long as the disk does.
func (o *Once) Passed(offset int64, end bool) {
	if o.conn == nil {
		return
	}
	_ = o.conn.Control(func(fd uintptr) {
		for o.done+window <= offset || end && o.done < o.size {
			forgetNew(int(fd), o.done, min(window, o.size-o.done), o.was[0])
			o.done += window
			o.was[0], o.was[1] = o.was[1], cached(int(fd), o.done+window, o.size)
		}
		from, to := max(o.asked, offset), min(offset+readAhead, o.size)
		if !end && to-from >= readAhead/4 {
			_ = unix.Fadvise(int(fd), from, to-from, unix.FADV_WILLNEED)
			o.asked = to
		}
	})
}

var pageSize = int64(os.Getpagesize())

// cached tells for each page of the window at start whether the system has it
// in its cache, nil where that can't be told. It reads nothing.
func cached(fd int, start, size int64) []byte {
	length := min(window, size-start)
	if length <= 0 {
		return nil
	}
	at, err := unix.MmapPtr(fd, start, nil, uintptr(length), unix.PROT_NONE, unix.MAP_SHARED)
	if err != nil {
		return nil
	}
	defer unix.MunmapPtr(at, uintptr(length)) //nolint:errcheck // it was just mapped
	pages := make([]byte, (length+pageSize-1)/pageSize)
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(at), uintptr(length), uintptr(unsafe.Pointer(&pages[0]))); errno != 0 {
		return nil
	}
	return pages
}

// forgetNew gives the pages of a window back that were not cached before.
func forgetNew(fd int, start, length int64, was []byte) {
	if was == nil {
		_ = unix.Fadvise(fd, start, length, unix.FADV_DONTNEED)
		return
	}
	for i := 0; i < len(was); {
		from := i
		for i < len(was) && was[i]&1 == 0 {
			i++
		}
		if i > from {
			_ = unix.Fadvise(fd, start+int64(from)*pageSize, int64(i-from)*pageSize, unix.FADV_DONTNEED)
		}
		for i < len(was) && was[i]&1 != 0 {
			i++
		}
	}
}
