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

// Folders that an operator takes away, or that a file was in the place of, are
// made again: no content is refused for what was there once.
func TestEnterMakesFoldersAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root")
	r, err := Attach(path, Options{Name: "om101"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	enter := func(name string) error {
		require.NoError(t, os.WriteFile(filepath.Join(path, "tmp", name), []byte(name), 0o600))
		return r.Enter("tmp/"+name, "content/ab/cd/"+name)
	}
	require.NoError(t, enter("one"))
	require.NoError(t, os.RemoveAll(filepath.Join(path, "content", "ab", "cd")))
	require.NoError(t, enter("two"), "the inner folder is gone")
	require.NoError(t, os.RemoveAll(filepath.Join(path, "content", "ab")))
	require.NoError(t, enter("three"), "both are gone")
	for _, inTheWay := range []string{"content/ab", "content/ab/cd"} {
		file := filepath.Join(path, filepath.FromSlash(inTheWay))
		require.NoError(t, os.RemoveAll(file))
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		require.Error(t, enter("four"))
		require.NoError(t, os.Remove(file))
		require.NoError(t, enter("five"), "nothing is in the way any more")
		require.FileExists(t, filepath.Join(path, "content", "ab", "cd", "five"))
	}
	require.Error(t, r.Enter("tmp/nothing", "content/ab/cd/nothing"))
}
