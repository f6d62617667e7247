//go:build !linux

package integration

import "os/exec"

// isolate and prepareMounts serve the tests that need mounts, which run on
// Linux only.
func isolate(*exec.Cmd, []string) {}

func prepareMounts() error { return nil }
