package node

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestSwapCore(t *testing.T) {
	first, firstLogs := observer.New(zapcore.InfoLevel)
	second, secondLogs := observer.New(zapcore.DebugLevel)
	core := newSwapCore(first)
	log := zap.New(core).Named("oose").With(zap.String("node", "edge1"))

	log.Debug("unseen")
	log.Info("one", zap.Int("n", 1))
	core.swap(second)
	log.Debug("two")
	core.swap(nil) // none: as before
	log.Info("three")

	require.Equal(t, 1, firstLogs.Len())
	require.Equal(t, map[string]any{"node": "edge1", "n": int64(1)}, firstLogs.All()[0].ContextMap())
	require.Equal(t, 2, secondLogs.Len())
	require.Equal(t, "edge1", secondLogs.All()[0].ContextMap()["node"])
	require.Equal(t, "oose", secondLogs.All()[0].LoggerName)
	require.NoError(t, log.Sync())
}
