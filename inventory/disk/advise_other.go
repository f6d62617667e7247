//go:build !linux

package disk

import "os"

// Preallocate does nothing here: a full disk shows while writing.
func (r *Root) Preallocate(f *os.File, _ int64) error { return r.before("preallocate", f.Name()) }

// StartWriteback does nothing here: the sync at the end writes all.
func StartWriteback(*os.File, int64, int64) {}

// Forget does nothing here.
func Forget(*os.File, int64, int64) {}
