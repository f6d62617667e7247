package journal

import (
	"fmt"
	"strings"

	"go.uber.org/zap"
)

// badgerLog gives Badger's words to zap. What Badger calls information tells
// of its inner life on every start and compaction: that is for debugging.
type badgerLog struct{ log *zap.Logger }

func (l badgerLog) Errorf(format string, args ...any)   { l.log.Error(badgerText(format, args)) }
func (l badgerLog) Warningf(format string, args ...any) { l.log.Warn(badgerText(format, args)) }

func (l badgerLog) Infof(format string, args ...any)  { l.debugf(format, args) }
func (l badgerLog) Debugf(format string, args ...any) { l.debugf(format, args) }

func (l badgerLog) debugf(format string, args []any) {
	if l.log.Core().Enabled(zap.DebugLevel) {
		l.log.Debug(badgerText(format, args))
	}
}

func badgerText(format string, args []any) string {
	return "badger: " + strings.TrimSpace(fmt.Sprintf(format, args...))
}
