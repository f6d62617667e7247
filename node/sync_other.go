//go:build !unix

package node

// syncFolder does nothing where folders can't be synced; the file system's own
// journal has to keep the rename.
func syncFolder(string) error { return nil }
