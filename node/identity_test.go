package node

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/peer"
)

func TestIdentityIsKept(t *testing.T) {
	dir := t.TempDir()
	first, err := loadIdentity(dir, "")
	require.NoError(t, err)
	require.NoError(t, peer.CheckName(first.Name))
	require.Len(t, first.ID, 32)

	named, err := loadIdentity(dir, "edge1")
	require.NoError(t, err)
	require.Equal(t, identity{ID: first.ID, Name: "edge1"}, named)
	again, err := loadIdentity(dir, "")
	require.NoError(t, err)
	require.Equal(t, named, again, "the name stays when the configuration no longer gives it")

	require.NoError(t, os.WriteFile(filepath.Join(dir, identityFile), []byte("{"), 0o600))
	_, err = loadIdentity(dir, "edge1")
	require.ErrorContains(t, err, "damaged")
}

func TestTokenKeys(t *testing.T) {
	dir := t.TempDir()
	own, err := tokenKeys(dir, nil)
	require.NoError(t, err)
	require.Len(t, own, 1)
	again, err := tokenKeys(dir, nil)
	require.NoError(t, err)
	require.Equal(t, own, again)
	info, err := os.Stat(filepath.Join(dir, keyFile))
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o077, "nobody else may read it")

	shared, err := tokenKeys(dir, []string{"a secret of a cluster", "the one before it"})
	require.NoError(t, err)
	elsewhere, err := tokenKeys(t.TempDir(), []string{"a secret of a cluster", "the one before it"})
	require.NoError(t, err)
	require.Equal(t, shared, elsewhere)
	require.NotEqual(t, own[0], shared[0])
	require.NotEqual(t, shared[0], shared[1])

	require.NoError(t, os.WriteFile(filepath.Join(dir, keyFile), []byte("0123"), 0o600))
	_, err = tokenKeys(dir, nil)
	require.ErrorContains(t, err, "damaged")
}
