package disk

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ooseio/oose/content"
)

const (
	md5Hash  = "d41d8cd98f00b204e9800998ecf8427e"
	sha1Hash = "a9993e364706816aba3e25717850c26c9cd0d89d"
)

func parse(tb testing.TB, s string) content.Hash {
	tb.Helper()
	h, err := content.ParseHash(s)
	require.NoError(tb, err)
	return h
}

func TestClonePath(t *testing.T) {
	for _, test := range []struct {
		hash, ext string
		deep      bool
		want      string
	}{
		{sha1Hash, "mp4", false, "content/a9/99/a9993e364706816aba3e25717850c26c9cd0d89d.mp4"},
		{sha1Hash, "mp4", true, "content/a9/99/3e/36/47/06/81/6a/ba/3e/25/71/78/50/c2/6c/9c/d0/d8/9d.mp4"},
		{strings.ToUpper(sha1Hash), "mp4", false, "content/a9/99/a9993e364706816aba3e25717850c26c9cd0d89d.mp4"},
		{md5Hash, "bin", false, "content/d4/1d/d41d8cd98f00b204e9800998ecf8427e.bin"},
		{md5Hash, "bin", true, "content/d4/1d/8c/d9/8f/00/b2/04/e9/80/09/98/ec/f8/42/7e.bin"},
	} {
		got := ClonePath(parse(t, test.hash), test.ext, test.deep)
		require.Equal(t, test.want, got)
		h, ext, deep, ok := ParsePath(got)
		require.True(t, ok)
		require.Equal(t, parse(t, test.hash), h)
		require.Equal(t, test.ext, ext)
		require.Equal(t, test.deep, deep)
	}
	deepest := ClonePath(parse(t, strings.Repeat("ab", 64)), "bin", true)
	require.Len(t, parents(deepest), 64, "content and 63 pairs")
}

func TestParsePathRefuses(t *testing.T) {
	good := ClonePath(parse(t, sha1Hash), "mp4", false)
	for _, rel := range []string{
		"", ".", "content", "content/", "/" + good, "./" + good, good + "/", "../" + good,
		strings.ToUpper(good), strings.Replace(good, "/99/", "/98/", 1), strings.TrimSuffix(good, "mp4"),
		strings.TrimSuffix(good, ".mp4"), good + ".part", strings.Replace(good, "mp4", "MP4", 1),
		strings.Replace(good, "mp4", "m/4", 1), strings.Replace(good, "/99/", "//99/", 1),
		strings.Replace(good, "content", "tmp", 1), strings.Replace(good, ".mp4", "\x00.mp4", 1),
		"content/a9/99/3e/364706816aba3e25717850c26c9cd0d89d.mp4",
		"content/a9/99/../99/a9993e364706816aba3e25717850c26c9cd0d89d.mp4",
	} {
		_, _, _, ok := ParsePath(rel)
		require.False(t, ok, "%q", rel)
	}
}

func TestPathsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		typ := rapid.SampledFrom(content.Types()).Draw(t, "type")
		h, err := content.HashOf(typ, rapid.SliceOfN(rapid.Byte(), typ.Size(), typ.Size()).Draw(t, "digest"))
		require.NoError(t, err)
		ext := rapid.StringMatching(`[a-z0-9]{1,16}`).Draw(t, "ext")
		deep := rapid.Bool().Draw(t, "deep")
		rel := ClonePath(h, ext, deep)
		gotHash, gotExt, gotDeep, ok := ParsePath(rel)
		require.True(t, ok)
		require.Equal(t, h, gotHash)
		require.Equal(t, ext, gotExt)
		require.Equal(t, deep, gotDeep)

		// What a listing reads of the same file must agree.
		digits := strings.ReplaceAll(strings.TrimPrefix(DirOf(rel), Content), "/", "")
		found, ok := parseName(digits, rel[strings.LastIndexByte(rel, '/')+1:])
		require.True(t, ok)
		require.Equal(t, Found{Key: h.String(), Ext: ext, Deep: deep}, found)
	})
}

func FuzzParsePath(f *testing.F) {
	for _, deep := range []bool{false, true} {
		for _, s := range []string{md5Hash, sha1Hash, strings.Repeat("0f", 28), strings.Repeat("0f", 32), strings.Repeat("0f", 48), strings.Repeat("0f", 64)} {
			h, err := content.ParseHash(s)
			require.NoError(f, err)
			f.Add(ClonePath(h, "mp4", deep))
		}
	}
	f.Add("content/../../etc/passwd")
	f.Add("content/a9/99/a9993e364706816aba3e25717850c26c9cd0d89d.mp4\x00")
	f.Fuzz(func(t *testing.T, rel string) {
		h, ext, deep, ok := ParsePath(rel)
		if !ok {
			require.True(t, h.IsZero())
			return
		}
		require.Equal(t, rel, ClonePath(h, ext, deep))
		require.NotContains(t, rel, "..")
		require.NotContains(t, rel, "\x00")
	})
}

func FuzzParseName(f *testing.F) {
	f.Add("a999", sha1Hash+".mp4")
	f.Add(sha1Hash[:38], "9d.mp4")
	f.Add("", "..")
	f.Fuzz(func(t *testing.T, digits, name string) {
		found, ok := parseName(digits, name)
		if !ok || !allHex(digits) { // folders are checked before they are entered
			return
		}
		h, err := content.ParseHash(found.Key)
		require.NoError(t, err)
		require.True(t, strings.HasSuffix(ClonePath(h, found.Ext, found.Deep), "/"+name))
	})
}
