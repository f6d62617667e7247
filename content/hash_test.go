package content

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTypes(t *testing.T) {
	for typ, want := range map[Type]struct {
		name string
		size int
	}{MD5: {"md5", 16}, SHA1: {"sha1", 20}, SHA224: {"sha224", 28}, SHA256: {"sha256", 32}, SHA384: {"sha384", 48}, SHA512: {"sha512", 64}} {
		require.Equal(t, want.name, typ.String())
		require.Equal(t, want.size, typ.Size())
		got, err := ParseType(strings.ToUpper(want.name))
		require.NoError(t, err)
		require.Equal(t, typ, got)
	}
	require.Len(t, Types(), 6)
	for _, name := range []string{"", "sha3", "sha-1", "SHA1 ", "crc32", strings.Repeat("x", 1000)} {
		_, err := ParseType(name)
		require.ErrorIs(t, err, ErrUnknownType)
		require.Less(t, len(err.Error()), 200)
	}
	require.Empty(t, Type(0).String())
	require.Empty(t, Type(99).String())
	require.Zero(t, Type(0).Size())
	require.Zero(t, Type(99).Size())
}

func TestParseHash(t *testing.T) {
	for digits, typ := range map[int]Type{32: MD5, 40: SHA1, 56: SHA224, 64: SHA256, 96: SHA384, 128: SHA512} {
		text := strings.Repeat("0aF3", digits/4)
		h, err := ParseHash(text)
		require.NoError(t, err)
		require.Equal(t, typ, h.Type())
		require.Equal(t, strings.ToLower(text), h.String())
		require.Equal(t, strings.ToLower(text), string(h.AppendTo(nil)))
		require.Len(t, h.Sum(), typ.Size())
		require.False(t, h.IsZero())

		again, err := HashOf(typ, h.Sum())
		require.NoError(t, err)
		require.Equal(t, h, again, "comparable, in whatever case it came")

		b, err := json.Marshal(map[string]Hash{"hash": h})
		require.NoError(t, err)
		var back map[string]Hash
		require.NoError(t, json.Unmarshal(b, &back))
		require.Equal(t, h, back["hash"])
	}
	for _, text := range []string{
		"", "0", strings.Repeat("0", 39), strings.Repeat("0", 41), strings.Repeat("0", 129), strings.Repeat("g", 40),
		strings.Repeat("0", 39) + "/", "../" + strings.Repeat("0", 37), strings.Repeat("0", 38) + "\x00\x00",
		strings.Repeat("é", 20), " " + strings.Repeat("0", 39), "0x" + strings.Repeat("0", 38),
	} {
		h, err := ParseHash(text)
		require.ErrorIs(t, err, ErrInvalidHash, "%q", text)
		require.True(t, h.IsZero())
		require.ErrorIs(t, new(Hash).UnmarshalText([]byte(text+"-")), ErrInvalidHash)
	}
}

func TestHashOfRefuses(t *testing.T) {
	_, err := HashOf(SHA1, make([]byte, 19))
	require.ErrorIs(t, err, ErrInvalidHash)
	_, err = HashOf(0, nil)
	require.ErrorIs(t, err, ErrInvalidHash)
	_, err = HashOf(99, nil)
	require.ErrorIs(t, err, ErrInvalidHash)
}

func TestNoHash(t *testing.T) {
	var h Hash
	require.True(t, h.IsZero())
	require.Empty(t, h.String())
	require.Empty(t, h.Sum())
	b, err := h.MarshalText()
	require.NoError(t, err)
	require.Empty(t, b)
	other, err := ParseHash(strings.Repeat("0", 40))
	require.NoError(t, err)
	require.NotEqual(t, h, other, "a digest of zeros is a hash")
	require.NoError(t, other.UnmarshalText(nil))
	require.Equal(t, h, other)
}

func TestHashesOfDifferentTypesDiffer(t *testing.T) {
	short, err := ParseHash(strings.Repeat("0", 32))
	require.NoError(t, err)
	long, err := ParseHash(strings.Repeat("0", 64))
	require.NoError(t, err)
	require.NotEqual(t, short, long)
}

func FuzzParseHash(f *testing.F) {
	for _, n := range []int{0, 31, 32, 40, 56, 64, 96, 128, 129} {
		f.Add(strings.Repeat("a", n))
		f.Add(strings.Repeat("Z", n))
	}
	f.Add("../../../../etc/passwd")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseHash(s)
		if err != nil {
			require.ErrorIs(t, err, ErrInvalidHash)
			require.True(t, h.IsZero())
			return
		}
		require.Equal(t, strings.ToLower(s), h.String())
		require.Regexp(t, `^[0-9a-f]{32,128}$`, h.String())
		again, err := ParseHash(h.String())
		require.NoError(t, err)
		require.Equal(t, h, again)
	})
}
