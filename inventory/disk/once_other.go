//go:build !linux

package disk

import "os"

// Once is a file that is read once, from its beginning to its end. This system
// is not told that, and caches it as any other.
type Once struct{}

// ReadOnce prepares for reading a file once.
func ReadOnce(*os.File) *Once { return &Once{} }

// Passed says how far the file was read, and whether that is all. It may block
// as long as the disk does.
func (*Once) Passed(int64, bool) {}
