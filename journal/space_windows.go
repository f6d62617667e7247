package journal

import (
	"io/fs"
	"math"
	"os"

	"golang.org/x/sys/windows"
)

func freeSpace(dir string) (int64, error) {
	path, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(path, &free, nil, nil); err != nil {
		return 0, err
	}
	return int64(min(free, math.MaxInt64)), nil
}

func allocate(f *os.File, size int64) error { return writeZeros(f, size) }

// allocated can't tell how much of a preallocated file is in use.
func allocated(fs.FileInfo) int64 { return 0 }
