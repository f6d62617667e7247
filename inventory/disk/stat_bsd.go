//go:build darwin || freebsd

package disk

import (
	"os"
	"path/filepath"
	"syscall"
)

var moreFailing []error

func ctimeOf(st *syscall.Stat_t) int64 { return st.Ctimespec.Nano() }

func isMountPoint(path string) (bool, error) {
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
