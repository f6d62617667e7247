package content

import (
	"mime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseExt(t *testing.T) {
	for in, want := range map[string]string{"mp4": "mp4", ".mp4": "mp4", "MP4": "mp4", ".JPeG": "jpeg", "7z": "7z", strings.Repeat("a", 16): strings.Repeat("a", 16)} {
		got, err := ParseExt(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got)
	}
	for _, in := range []string{"", ".", "..", "..mp4", "tar.gz", "mp4 ", "m/4", `m\4`, "m\x004", "mpé", "..%2f", strings.Repeat("a", 17), "\u212a" /* the Kelvin sign, in lower case a k */} {
		_, err := ParseExt(in)
		require.ErrorIs(t, err, ErrInvalidExt, "%q", in)
	}
}

func TestMediaTables(t *testing.T) {
	for ext, typ := range mediaTypes {
		got, err := ParseExt(ext)
		require.NoError(t, err)
		require.Equal(t, ext, got)
		_, _, err = mime.ParseMediaType(typ)
		require.NoError(t, err, ext)
		require.True(t, KnownExt(strings.ToUpper(ext)))
		require.Equal(t, typ, MediaType(ext))
	}
	for typ, ext := range mediaExts {
		require.True(t, KnownExt(ext), "%s: %s", typ, ext)
		parsed, params, err := mime.ParseMediaType(typ)
		require.NoError(t, err)
		require.Equal(t, typ, parsed)
		require.Empty(t, params)
	}
	require.Equal(t, "application/octet-stream", MediaType("nonsense"))
	require.False(t, KnownExt("nonsense"))
	require.Equal(t, "video/mp4", MediaType("MP4"))
}

func TestExtOf(t *testing.T) {
	for _, test := range []struct{ name, mediaType, want string }{
		{"movie.mp4", "", "mp4"},
		{"MOVIE.MP4", "image/png", "mp4"},
		{"movie.final.webm", "", "webm"},
		{"movie", "video/mp4", "mp4"},
		{"movie.unknown", "video/webm", "webm"},
		{"movie.unknown", `text/plain; charset="utf-8"`, "txt"},
		{"movie.unknown", "application/x-nothing", UnknownExt},
		{"movie.", "", UnknownExt},
		{"", "", UnknownExt},
		{"../../etc/passwd", ";;;", UnknownExt},
		{"x.mp4/../y", "", UnknownExt},
	} {
		require.Equal(t, test.want, ExtOf(test.name, test.mediaType), "%+v", test)
	}
}

func TestIsAudioVideo(t *testing.T) {
	for ext, want := range map[string]bool{"mp4": true, "MP3": true, "mkv": true, "png": false, "m3u8": false, "bin": false, "": false} {
		require.Equal(t, want, IsAudioVideo(ext), ext)
	}
}

func FuzzParseExt(f *testing.F) {
	for _, s := range []string{"mp4", ".mp4", "MP4", "", "..", "a/b", "\x00", "tar.gz", strings.Repeat("a", 17)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ext, err := ParseExt(s)
		if err != nil {
			require.Empty(t, ext)
			return
		}
		require.Regexp(t, `^[a-z0-9]{1,16}$`, ext)
		again, err := ParseExt(ext)
		require.NoError(t, err)
		require.Equal(t, ext, again)
		require.NotEmpty(t, MediaType(ext))
	})
}
