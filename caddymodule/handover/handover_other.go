//go:build !linux

package handover

import (
	"net"

	"go.uber.org/zap"
)

// Handover does nothing on this system.
type Handover struct{}

// Keep does nothing on this system.
func Keep(_, _ []net.Listener, _ *zap.Logger) {}

// Begin does nothing on this system.
func Begin(_, _ []net.Listener, _ func() int, _ *zap.Logger) *Handover { return nil }

// Finish does nothing on this system.
func (*Handover) Finish() {}
