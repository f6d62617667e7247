package certstorage

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/caddypki"
	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

func TestCaddyfile(t *testing.T) {
	for text, want := range map[string]string{
		"oose":                               "",
		"oose {\n}":                          "",
		"oose {\n folder /a/b\n}":            "/a/b",
		"oose x":                             `"x" too much`,
		"oose {\n folder\n}":                 "folder has one argument",
		"oose {\n folder a b\n}":             "folder has one argument",
		"oose {\n folder a\n folder b\n}":    "given twice",
		"oose {\n root /a\n}":                `no setting "root"`,
		"oose {\n folder {env.OOSE_TEST}\n}": "{env.OOSE_TEST}",
	} {
		var s Storage
		err := s.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
		if err != nil {
			require.ErrorContains(t, err, want, text)
			continue
		}
		require.Equal(t, want, s.Folder, text)
	}
}

// TestValidate: a configuration that is only looked at, with a CA that is to be
// made, writes nothing and opens nothing.
func TestValidate(t *testing.T) {
	home := t.TempDir()
	t.Setenv("XDG_DATA_HOME", home)
	var config caddy.Config
	require.NoError(t, caddy.StrictUnmarshalJSON([]byte(`{
		"admin": {"disabled": true, "config": {"persist": false}},
		"storage": {"module": "oose"},
		"apps": {"pki": {"certificate_authorities": {"local": {"install_trust": false}}}}
	}`), &config))
	require.NoError(t, caddy.Validate(&config))
	entries, err := os.ReadDir(home)
	require.NoError(t, err)
	require.Empty(t, entries)
	n := 0
	keepers.Range(func(any, any) bool { n++; return true })
	require.Zero(t, n, "what was provisioned is let go")

	var bad caddy.Config
	require.NoError(t, caddy.StrictUnmarshalJSON([]byte(`{"storage": {"module": "oose", "folder": "{env.OOSE_TEST_NOT_SET}"}}`), &bad))
	require.ErrorContains(t, caddy.Validate(&bad), "storage oose: folder")
}

// TestWithoutConfiguration: Caddy's command `storage import` writes at once.
func TestWithoutConfiguration(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	loaded, err := ctx.LoadModuleByID("caddy.storage.oose", []byte(`{}`))
	require.NoError(t, err)
	storage, err := loaded.(caddy.StorageConverter).CertMagicStorage()
	require.NoError(t, err)
	require.NoError(t, storage.Store(t.Context(), "a/b", []byte("1")))
	cancel()
	folder := filepath.Join(caddy.AppDataDir(), "oose", "certificates")
	k := keeperIn(folder)
	require.Equal(t, "1", load(t, k, "a/b"))

	// The next node that runs gives it to its engine.
	m := recordtest.NewMemory(nil)
	t.Cleanup(k.Attach(m, always))
	synced(t, k)
	versions, err := m.Get(t.Context(), record.Certificate, "a/b")
	require.NoError(t, err)
	require.Len(t, versions, 1)
	require.NoError(t, new(Storage).Cleanup(), "half provisioned")
}

// TestSharedKeeper: configurations of one folder share what they know, and an
// engine that is attached is all of theirs.
func TestSharedKeeper(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	open := func() (*Storage, func()) {
		ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
		loaded, err := ctx.LoadModuleByID("caddy.storage.oose", []byte(`{}`))
		require.NoError(t, err)
		return loaded.(*Storage), cancel
	}
	a, endA := open()
	m := recordtest.NewMemory(nil)
	detach := Attach(m, always)
	b, endB := open()
	require.Same(t, a.keeper, b.keeper)
	require.True(t, strings.HasPrefix(a.keeper.String(), "oose:"))
	detachB := Attach(m, always)
	k := a.keeper
	endA()
	detach()
	store(t, k, "a", "1")
	versions, err := m.Get(t.Context(), record.Certificate, "a")
	require.NoError(t, err)
	require.Len(t, versions, 1, "the other one still holds the engine")
	detachB()
	endB()
	require.Equal(t, "1", load(t, k, "a"))
	_, err = k.Load(t.Context(), "b")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func FuzzKeys(f *testing.F) {
	for _, key := range []string{"", "a/b", "/a//b/../c/", "\x01hx", "\x00", "\xff", strings.Repeat("a/", 300)} {
		f.Add(key, []byte("value"), []byte(`{"value":"YQ=="}`))
	}
	f.Fuzz(func(t *testing.T, key string, value, damaged []byte) {
		key = clean(key)
		require.Equal(t, key, clean(key))
		require.False(t, strings.HasPrefix(key, "/") || strings.HasSuffix(key, "/") || strings.HasPrefix(key, "../"))
		at := recordKey(key)
		require.NoError(t, record.CheckKey(record.Certificate, at))
		text, err := encode(key, value)
		if err != nil {
			require.ErrorIs(t, err, ErrTooLarge)
			return
		}
		require.LessOrEqual(t, len(text), record.MaxValue)
		gotKey, gotValue, err := decode(record.Record{Key: at, Value: text})
		require.NoError(t, err)
		require.Equal(t, key, gotKey)
		require.Equal(t, string(value), string(gotValue))
		if gotKey, _, err := decode(record.Record{Key: at, Value: damaged}); err == nil {
			require.Equal(t, at, recordKey(gotKey))
		}
	})
}
