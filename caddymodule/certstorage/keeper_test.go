package certstorage

import (
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

func always() bool { return true }

// opened returns a keeper over an engine, with its own copy, that is synced.
func opened(t *testing.T, e record.Engine) *Keeper {
	t.Helper()
	k := NewKeeper(t.TempDir(), zaptest.NewLogger(t, zaptest.Level(zap.ErrorLevel)))
	t.Cleanup(k.Attach(e, always))
	synced(t, k)
	return k
}

// synced waits until a keeper and its engine agree.
func synced(t *testing.T, k *Keeper) {
	t.Helper()
	require.Eventually(t, func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.synced && len(k.pending) == 0 && len(k.dirty) == 0
	}, 20*time.Second, time.Millisecond)
}

func TestConformMemory(t *testing.T) {
	conform(t, func(t *testing.T) (a, b certmagic.Storage) {
		m := recordtest.NewMemory(nil)
		return opened(t, m), opened(t, m)
	})
}

// TestConformSuite holds the suite against certmagic's own storage, which it is
// taken from.
func TestConformSuite(t *testing.T) {
	for name, test := range map[string]func(t *testing.T, a, b certmagic.Storage){
		"Values": conformValues, "Folders": conformFolders, "Delete": conformDelete, "Shared": conformShared,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			test(t, &certmagic.FileStorage{Path: dir}, &certmagic.FileStorage{Path: dir})
		})
	}
}
