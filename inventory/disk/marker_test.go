package disk

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDecide(t *testing.T) {
	ours, other := Marker{ID: "aa"}, Marker{ID: "bb", Name: "om102"}
	for name, test := range map[string]struct {
		sight   sight
		options Options
		write   bool
		refused string
	}{
		"missing, never seen":             {sight{}, Options{}, true, ""},
		"missing, known":                  {sight{}, Options{KnownID: "aa"}, false, "missing"},
		"missing, known, adopted":         {sight{}, Options{KnownID: "aa", Adopt: true}, true, ""},
		"missing, with mount":             {sight{}, Options{Mount: true}, false, "no medium is mounted"},
		"empty, never seen":               {sight{exists: true}, Options{}, true, ""},
		"empty, known":                    {sight{exists: true}, Options{KnownID: "aa"}, false, "no marker"},
		"empty, known, adopted":           {sight{exists: true}, Options{KnownID: "aa", Adopt: true}, true, ""},
		"empty, with mount, not mounted":  {sight{exists: true}, Options{Mount: true}, false, "no medium is mounted"},
		"empty, not mounted, adopted":     {sight{exists: true}, Options{Mount: true, Adopt: true}, false, "no medium is mounted"},
		"empty, with mount, mounted":      {sight{exists: true, mountPoint: true}, Options{Mount: true}, true, ""},
		"foreign files, never seen":       {sight{exists: true, foreign: "photos"}, Options{}, false, `"photos"`},
		"foreign files, adopted":          {sight{exists: true, foreign: "photos"}, Options{Adopt: true}, true, ""},
		"foreign files beside our marker": {sight{exists: true, foreign: "photos", marked: true, marker: ours}, Options{KnownID: "aa"}, false, ""},
		"marked, never seen":              {sight{exists: true, marked: true, marker: other}, Options{}, false, ""},
		"marked, ours":                    {sight{exists: true, marked: true, marker: ours}, Options{KnownID: "aa"}, false, ""},
		"marked, another's":               {sight{exists: true, marked: true, marker: other}, Options{KnownID: "aa"}, false, "another store's"},
		"marked, another's, adopted":      {sight{exists: true, marked: true, marker: other}, Options{KnownID: "aa", Adopt: true}, false, ""},
		"marker broken":                   {sight{exists: true, marked: true, markerErr: os.ErrInvalid}, Options{}, false, "can't be read"},
		"marker broken, adopted":          {sight{exists: true, marked: true, markerErr: os.ErrInvalid}, Options{Adopt: true}, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			write, err := decide(test.sight, test.options)
			if test.refused != "" {
				require.ErrorIs(t, err, ErrRefused)
				require.ErrorContains(t, err, test.refused)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.write, write)
		})
	}
}

func TestAttachNewRoot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "down", "om101")
	r, err := Attach(path, Options{Name: "om101"})
	require.NoError(t, err)
	m := r.Marker()
	require.Len(t, m.ID, 2*idBytes)
	require.Equal(t, "om101", m.Name)
	for _, dir := range []string{Content, Temp, Quarantine, Cache} {
		require.DirExists(t, filepath.Join(path, dir))
	}
	require.NoError(t, r.Present(false))
	require.NoError(t, r.TestRead())
	require.NoError(t, r.TestWrite())
	require.NoError(t, r.TestWrite(), "in place")

	_, err = Attach(path, Options{Name: "om101"})
	require.ErrorIs(t, err, ErrRefused)
	require.ErrorContains(t, err, "in use")

	require.NoError(t, r.Close())
	require.Error(t, r.TestRead())
	_, err = r.Stat(MarkerName)
	require.ErrorIs(t, err, os.ErrClosed)

	again, err := Attach(path, Options{Name: "other", KnownID: m.ID})
	require.NoError(t, err)
	require.Equal(t, m, again.Marker())
	require.NoError(t, again.Close())
}

func TestAttachLeavesForeignRootsAlone(t *testing.T) {
	path := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(path, "holiday.jpg"), nil, 0o644))
	_, err := Attach(path, Options{Name: "om101"})
	require.ErrorIs(t, err, ErrRefused)
	entries, err := os.ReadDir(path)
	require.NoError(t, err)
	require.Len(t, entries, 1)

	empty := t.TempDir()
	_, err = Attach(empty, Options{Name: "om101", KnownID: "aa"})
	require.ErrorIs(t, err, ErrRefused)
	entries, err = os.ReadDir(empty)
	require.NoError(t, err)
	require.Empty(t, entries, "nothing is written under an unmounted disk")
}

func TestAttachTakesTreesMadeElsewhere(t *testing.T) {
	path := t.TempDir()
	for _, dir := range []string{Content, Cache, lostFound} {
		require.NoError(t, os.Mkdir(filepath.Join(path, dir), 0o755))
	}
	r, err := Attach(path, Options{Name: "om101"})
	require.NoError(t, err)
	require.NoError(t, r.Close())
}

func TestAttachAfterACrash(t *testing.T) {
	path := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(path, MarkerName), nil, 0o644), "the marker was made and not written")
	require.NoError(t, os.Mkdir(filepath.Join(path, Temp), 0o755))
	old, kept := filepath.Join(path, TempPath("old")), filepath.Join(path, Temp, "notes.txt")
	require.NoError(t, os.WriteFile(old, []byte("half"), 0o644))
	require.NoError(t, os.WriteFile(kept, nil, 0o644))
	r, err := Attach(path, Options{Name: "om101"})
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.NoFileExists(t, old)
	require.FileExists(t, kept, "only our own temporary files go")
}

func TestAttachAdopts(t *testing.T) {
	path := t.TempDir()
	marker := filepath.Join(path, MarkerName)
	require.NoError(t, os.WriteFile(marker, []byte(`{"id": "../../etc"}`), 0o644))
	_, err := Attach(path, Options{Name: "om101"})
	require.ErrorIs(t, err, ErrRefused)
	r, err := Attach(path, Options{Name: "om101", KnownID: "aa", Adopt: true})
	require.NoError(t, err)
	id := r.Marker().ID
	require.NotEqual(t, "aa", id)
	require.NoError(t, r.Close())

	r, err = Attach(path, Options{Name: "om102", KnownID: "bb", Adopt: true})
	require.NoError(t, err)
	require.Equal(t, id, r.Marker().ID, "a medium keeps its id")
	require.NoError(t, r.Close())
}

// Where nobody knows yet whether the store is a new one, nothing is written; nor
// where it turns out to be known.
func TestAttachAsksBeforeItMarks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "om101")
	known, unsure := "", os.ErrDeadlineExceeded
	o := Options{Name: "om101", Known: func() (string, error) { return known, unsure }}
	_, err := Attach(path, o)
	require.ErrorIs(t, err, ErrRefused)
	require.ErrorContains(t, err, unsure.Error())
	require.NoDirExists(t, path)

	known, unsure = "aa", nil
	_, err = Attach(path, o)
	require.ErrorIs(t, err, ErrRefused)
	require.ErrorContains(t, err, "the folder is missing; the store was there before")
	require.NoDirExists(t, path)
	require.NoError(t, os.Mkdir(path, 0o755))
	_, err = Attach(path, o)
	require.ErrorContains(t, err, "the medium is not mounted or is a new one")
	require.NoFileExists(t, filepath.Join(path, MarkerName))

	known = ""
	r, err := Attach(path, o)
	require.NoError(t, err, "it is new")
	require.NoError(t, r.Close())
	unsure = os.ErrDeadlineExceeded
	r, err = Attach(path, o)
	require.NoError(t, err, "it has its marker")
	require.NoError(t, r.Close())
}

func TestAttachAsksForTheClaim(t *testing.T) {
	path := t.TempDir()
	_, err := Attach(path, Options{Name: "om101", Claim: func(string) error { return os.ErrExist }})
	require.ErrorIs(t, err, ErrRefused)
	r, err := Attach(path, Options{Name: "om101", Claim: func(id string) error { require.NotEmpty(t, id); return nil }})
	require.NoError(t, err, "the refusal let go of the lock")
	require.NoError(t, r.Close())
}

func TestPresentNoticesAnotherRoot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "om101")
	r, err := Attach(path, Options{Name: "om101"})
	require.NoError(t, err)
	defer r.Close()
	require.NoError(t, os.Rename(path, path+".away"))
	require.ErrorIs(t, r.Present(false), os.ErrNotExist)
	other, err := Attach(path, Options{Name: "om101"})
	require.NoError(t, err)
	defer other.Close()
	require.ErrorContains(t, r.Present(false), "another marker")
}

func FuzzMarker(f *testing.F) {
	f.Add([]byte(`{"id": "00ff", "name": "om101", "created": "2026-11-20T00:00:00Z"}`))
	f.Add([]byte(``))
	f.Add([]byte(`{"id": "a/b"}`))
	path := filepath.Join(f.TempDir(), MarkerName)
	f.Fuzz(func(t *testing.T, b []byte) {
		require.NoError(t, os.WriteFile(path, b, 0o600))
		file, err := os.Open(path)
		require.NoError(t, err)
		defer file.Close()
		m, marked, err := readMarker(file)
		if err == nil && marked {
			require.Regexp(t, `^[0-9a-f-]{1,64}$`, m.ID)
		}
		require.Equal(t, len(b) > 0, marked)
	})
}
