package disk

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMakeParents: a folder that somebody else made, and may not have synced,
// is made durable once; deep ones each time, for they are not remembered.
func TestMakeParents(t *testing.T) {
	var steps []string
	path := filepath.Join(t.TempDir(), "a", "root")
	r, err := Attach(path, Options{Name: "om101", Hook: func(op, rel string) error {
		steps = append(steps, op+" "+rel)
		return nil
	}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	require.NoError(t, os.MkdirAll(filepath.Join(path, "content", "ab", "cd"), 0o755))
	made := func(rel string) []string {
		steps = nil
		require.NoError(t, r.MakeParents(rel))
		return steps
	}
	require.Equal(t, []string{"mkdir content/ab", "syncdir content", "mkdir content/ab/cd", "syncdir content/ab"}, made("content/ab/cd/file.mp4"))
	require.Empty(t, made("content/ab/cd/other.mp4"))
	require.Equal(t, []string{"mkdir content/ab/ce", "syncdir content/ab"}, made("content/ab/ce/file.mp4"))
	for range 2 {
		require.Equal(t, []string{"mkdir content/ab/cd/ef", "syncdir content/ab/cd"}, made("content/ab/cd/ef/01.mp4"))
	}
	require.Equal(t, []string{"mkdir quarantine", "syncdir ."}, made("quarantine/x"))
	require.DirExists(t, filepath.Join(path, "content", "ab", "cd", "ef"))

	seen := make(map[int]bool)
	for _, dir := range []string{"content/00", "content/ff", "content/00/00", "content/00/ff", "content/ff/00", "content/ff/ff"} {
		i, ok := bitOf(dir)
		require.True(t, ok, dir)
		require.Less(t, i, len(r.durable)*32)
		require.False(t, seen[i], dir)
		seen[i] = true
	}
}
