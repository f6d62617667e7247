package journal

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/ooseio/oose/record"
)

// TestDamage: a flipped byte in a table is found, and from then on "there is
// none" is not said.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	j := start(t, Options{Dir: dir})
	var wg sync.WaitGroup
	for w := range 32 {
		wg.Go(func() {
			for i := w; i < 2000; i += 32 {
				j.put(record.Purchase, fmt.Sprintf("%05d", i), record.Change{Value: fmt.Append(nil, i*104729)})
			}
		})
	}
	wg.Wait()
	j.verify()
	require.False(t, j.Stats().Damaged)
	require.Empty(t, j.get(record.Purchase, "none"))
	j.stop()

	found, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	require.NoError(t, err)
	require.NotEmpty(t, found)
	b, err := os.ReadFile(found[0])
	require.NoError(t, err)
	b[len(b)/3] ^= 0x10
	require.NoError(t, os.WriteFile(found[0], b, 0o600))

	core, logs := observer.New(zap.ErrorLevel)
	damaged, err := Open(Options{Dir: dir, Logger: zap.New(core)})
	require.NoError(t, err)
	damaged.verify()
	require.True(t, damaged.Stats().Damaged)
	require.NotZero(t, logs.FilterMessageSnippet("the database is damaged").Len())
	there, missing := 0, 0
	for i := range 2000 {
		versions, err := damaged.Get(context.Background(), record.Purchase, fmt.Sprintf("%05d", i))
		if err != nil {
			require.ErrorIs(t, err, record.ErrUnavailable)
			missing++
		} else {
			require.Len(t, versions, 1)
			require.Equal(t, fmt.Sprint(i*104729), string(versions[0].Value))
			there++
		}
	}
	t.Logf("%d there, %d not available", there, missing)
	require.NotZero(t, missing)
	_, err = damaged.Get(context.Background(), record.Purchase, "none")
	require.ErrorIs(t, err, record.ErrUnavailable)
	require.NoError(t, damaged.Close())
}
