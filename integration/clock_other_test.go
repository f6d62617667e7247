//go:build !(linux && amd64)

package integration

// prepareClock serves the tests of clocks that are off, which run on Linux on
// x86 only.
func prepareClock() error { return nil }
