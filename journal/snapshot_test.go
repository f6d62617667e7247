package journal

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// snapshot copies the database of a journal that writes nothing at the moment,
// as it would be after a crash. The files have large holes.
func snapshot(tb testing.TB, from, to string) {
	tb.Helper()
	require.NoError(tb, os.MkdirAll(to, 0o700))
	entries, err := os.ReadDir(from)
	require.NoError(tb, err)
	for _, e := range entries {
		if e.Name() == "LOCK" || e.Name() == ballastName {
			continue
		}
		require.NoError(tb, copyHoles(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())))
	}
}

func copyHoles(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	b, zeros := make([]byte, 64<<10), make([]byte, 64<<10)
	for at := int64(0); ; {
		n, err := in.ReadAt(b, at)
		if n > 0 && !bytes.Equal(b[:n], zeros[:n]) {
			if _, err := out.WriteAt(b[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
		if err == io.EOF {
			return out.Truncate(at)
		}
		if err != nil {
			return err
		}
	}
}
