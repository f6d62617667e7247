//go:build !linux

package caddymodule

// unmapProgram is for Linux: elsewhere the system sees to it.
func unmapProgram() error { return nil }
