package peer

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "0", "om101", "rs106a-1", strings.Repeat("a", 63), "a--b"} {
		require.NoError(t, CheckName(name), name)
	}
	for _, name := range []string{"", "-", "-a", "a-", "A", "a.b", "a_b", "a b", "a:b", "a/b", "ä", "a\x00", strings.Repeat("a", 64)} {
		err := CheckName(name)
		require.ErrorIs(t, err, ErrInvalidName, "%q", name)
		require.Less(t, len(err.Error()), 300)
	}
}

func TestParseName(t *testing.T) {
	for in, want := range map[string]struct {
		name  Name
		kind  Kind
		label string
	}{
		"prism1":        {Name{Prism: "prism1"}, Prism, "prism1"},
		"prism1:store1": {Name{Prism: "prism1", Store: "store1"}, Store, "store1"},
	} {
		got, err := ParseName(in)
		require.NoError(t, err)
		require.Equal(t, want.name, got)
		require.Equal(t, want.kind, got.Kind())
		require.Equal(t, want.label, got.Label())
		require.Equal(t, in, got.String())
	}
	for _, in := range []string{"", ":", "a:", ":a", "a:b:c", "a:B", "A:b", "a b", "a:../b", "a.example", strings.Repeat("a", 64)} {
		got, err := ParseName(in)
		require.ErrorIs(t, err, ErrInvalidName, "%q", in)
		require.Equal(t, Name{}, got)
	}
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"", "prism1", "prism1:store1", "a:", ":", "a:b:c", "-", strings.Repeat("a", 64), "a\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := ParseName(s)
		if err != nil {
			require.ErrorIs(t, err, ErrInvalidName)
			return
		}
		require.Equal(t, s, name.String())
		require.NoError(t, CheckName(name.Label()))
		require.NotContains(t, name.Label(), ".")
	})
}

func TestNameInJSON(t *testing.T) {
	b, err := json.Marshal(Name{Prism: "prism1", Store: "om101"})
	require.NoError(t, err)
	require.Equal(t, `"prism1:om101"`, string(b))
	var n Name
	require.NoError(t, json.Unmarshal(b, &n))
	require.Equal(t, Name{Prism: "prism1", Store: "om101"}, n)
	require.ErrorIs(t, json.Unmarshal([]byte(`"a:b:c"`), &n), ErrInvalidName)
}
