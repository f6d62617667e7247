package node

import (
	"sync/atomic"

	"go.uber.org/zap/zapcore"
)

// swapCore writes logs to the core of the configuration that rules: a node
// outlives the loggers that a configuration brings.
type swapCore struct {
	current *atomic.Pointer[zapcore.Core] // shared by all that With made
	fields  []zapcore.Field
}

func newSwapCore(core zapcore.Core) *swapCore {
	s := &swapCore{current: new(atomic.Pointer[zapcore.Core])}
	s.swap(core)
	return s
}

func (s *swapCore) swap(core zapcore.Core) {
	if core != nil {
		s.current.Store(&core)
	}
}

func (s *swapCore) core() zapcore.Core { return *s.current.Load() }

// Enabled tells whether the current core takes this level.
func (s *swapCore) Enabled(l zapcore.Level) bool { return s.core().Enabled(l) }

// With returns a core that adds fields and follows the swaps.
func (s *swapCore) With(fields []zapcore.Field) zapcore.Core {
	all := append(append([]zapcore.Field(nil), s.fields...), fields...)
	return &swapCore{current: s.current, fields: all}
}

// Check lets the current core decide, which may look at the logger's name.
func (s *swapCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	core := s.core()
	if !core.Enabled(e.Level) {
		return ce
	}
	if len(s.fields) > 0 {
		core = core.With(s.fields)
	}
	return core.Check(e, ce)
}

// Write hands an entry to the current core.
func (s *swapCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	return s.core().With(s.fields).Write(e, fields)
}

// Sync flushes the current core.
func (s *swapCore) Sync() error { return s.core().Sync() }
