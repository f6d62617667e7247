package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func attachNew(t *testing.T, hook Hook) *Root {
	t.Helper()
	r, err := Attach(t.TempDir(), Options{Name: "om101", Hook: hook})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

func TestFaultOf(t *testing.T) {
	require.Equal(t, None, FaultOf(nil))
	require.Equal(t, None, FaultOf(fs.ErrNotExist))
	for want, errs := range map[Fault][]error{Full: fullErrors, ReadOnly: readOnlyErrors, Failing: failingErrors} {
		for _, err := range errs {
			require.Equal(t, want, FaultOf(fmt.Errorf("writing: %w", &fs.PathError{Op: "write", Err: err})), "%v", err)
		}
	}
}

func TestFileOperations(t *testing.T) {
	r := attachNew(t, nil)
	rel := ClonePath(parse(t, sha1Hash), "mp4", true)
	_, _, err := r.Open(rel)
	require.ErrorIs(t, err, fs.ErrNotExist)

	f, err := r.Create(TempPath("one"))
	require.NoError(t, err)
	require.NoError(t, r.Preallocate(f, 1<<20))
	_, err = f.WriteString("abc")
	require.NoError(t, err)
	require.NoError(t, r.Sync(f))
	before, err := InfoOf(f)
	require.NoError(t, err)
	require.EqualValues(t, 3, before.Size, "preallocating does not lengthen it")
	require.NoError(t, f.Close())
	_, err = r.Create(TempPath("one"))
	require.ErrorIs(t, err, fs.ErrExist)

	require.NoError(t, r.MakeParents(rel))
	require.NoError(t, r.MakeParents(rel), "again")
	require.NoError(t, r.Rename(TempPath("one"), rel))
	require.NoError(t, r.SyncDir(DirOf(rel)))
	g, info, err := r.Open(rel)
	require.NoError(t, err)
	defer g.Close()
	require.Equal(t, before.Mtime, info.Mtime)
	require.True(t, info.Regular)
	stat, err := r.Stat(rel)
	require.NoError(t, err)
	require.Equal(t, info, stat)

	l, err := r.Collect("a9", "99")
	require.NoError(t, err)
	require.Equal(t, Listing{Found: []Found{{Key: sha1Hash, Ext: "mp4", Deep: true, Info: info}}}, l)
	require.NoError(t, r.Remove(rel))
	space, err := r.Space()
	require.NoError(t, err)
	require.Positive(t, space.Free)
	require.Greater(t, space.Total, space.Free)
}

func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	r := attachNew(t, nil)
	rel := ClonePath(parse(t, sha1Hash), "mp4", false)
	require.NoError(t, os.MkdirAll(filepath.Join(r.Path(), rel), 0o755))
	_, _, err := r.Open(rel)
	require.ErrorContains(t, err, "not a regular file")
}

func TestCollectLeavesForeignThingsAlone(t *testing.T) {
	r := attachNew(t, nil)
	dir := filepath.Join(r.Path(), Content, "a9", "99")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "not-ours"), 0o755))
	for _, name := range []string{sha1Hash + ".mp4", sha1Hash, sha1Hash + ".MP4", "b" + sha1Hash[1:] + ".mp4", "readme.txt", ".hidden", sha1Hash[:38] + ".mp4"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o644))
	}
	names, foreign, err := r.Pairs("a9")
	require.NoError(t, err)
	require.Equal(t, []string{"99"}, names)
	require.Zero(t, foreign)
	l, err := r.Collect("a9", "99")
	require.NoError(t, err)
	require.Len(t, l.Found, 1)
	require.Equal(t, 7, l.Foreign)
	l, err = r.Collect("00", "00")
	require.NoError(t, err)
	require.Empty(t, l)
}

func TestHookFailsOperations(t *testing.T) {
	bad := errors.New("injected")
	failing := ""
	r := attachNew(t, func(op, rel string) error {
		if op == failing {
			return bad
		}
		return nil
	})
	for op, run := range map[string]func() error{
		"stat":      func() error { _, err := r.Stat("x"); return err },
		"rename":    func() error { return r.Rename("x", "y") },
		"remove":    func() error { return r.Remove("x") },
		"syncdir":   func() error { return r.SyncDir(".") },
		"space":     func() error { _, err := r.Space(); return err },
		"list":      func() error { _, err := r.Collect("00", "00"); return err },
		"testwrite": r.TestWrite,
		"testread":  r.TestRead,
		"present":   func() error { return r.Present(false) },
	} {
		failing = op
		require.ErrorIs(t, run(), bad, op)
	}
	failing = ""
}
