package disk

import (
	"io/fs"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFilesOfTheCache(t *testing.T) {
	r := attachNew(t, nil)
	require.NoError(t, r.Files(Cache+"/ab", func(string, Info) { t.Error("there is none") }))
	require.NoError(t, r.MakeDir(Cache+"/ab"))
	require.NoError(t, r.MakeDir(Cache+"/ab"), "again")
	require.NoError(t, r.MakeDir(Cache+"/ab/folder"))
	f, err := r.Create(Cache + "/ab/file")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	at := time.Unix(1_700_000_000, 0)
	require.NoError(t, r.Touch(Cache+"/ab/file", at))
	require.ErrorIs(t, r.Touch(Cache+"/ab/none", at), fs.ErrNotExist)
	var names []string
	require.NoError(t, r.Files(Cache+"/ab", func(name string, info Info) {
		names = append(names, name)
		require.Equal(t, at.UnixNano(), info.Mtime)
	}))
	require.Equal(t, []string{"file"}, names)
}
