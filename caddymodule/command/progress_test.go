package command

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestBarLine(t *testing.T) {
	tests := []struct {
		name  string
		label string
		part  float64
		text  string
		width int
		want  string
	}{
		{"half", "movie.mp4", 0.5, "1 MB of 2 MB", 60, "movie.mp4  50% [##############---------------]  1 MB of 2 MB"},
		{"unknown size", "-", -1, "1 MB, 5 MB/s", 60, "-  1 MB, 5 MB/s"},
		{"full", "a", 1, "x", 30, "a 100% [##################]  x"},
		{"beyond", "a", 1.5, "x", 14, "a 100%  x"},
		{"narrow", "a-very-long-name-of-a-file.mp4", 0.1, "text that does not fit", 20, "a-very-long-name-of…"},
		{"escapes", "a\x1b[2Jb\u202ec", -1, "x", 40, "a?[2Jb?c  x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.want, barLine(tt.label, tt.part, tt.text, tt.width))
		})
	}
}

func TestBarLineFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		width := rapid.IntRange(1, 200).Draw(t, "width")
		line := barLine(rapid.String().Draw(t, "label"), rapid.Float64Range(-1, 2).Draw(t, "part"),
			rapid.StringMatching(`[ -~]{0,60}`).Draw(t, "text"), width)
		require.LessOrEqual(t, utf8.RuneCountInString(line), width)
		require.NotContains(t, line, "\x1b")
		require.NotContains(t, line, "\n")
	})
}

func TestBarWaits(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	b := &bar{out: &out, width: func() int { return 80 }, now: func() time.Time { return now }}
	b.start("movie.mp4")
	b.bytes(10e6, 100e6)
	b.finish()
	require.Empty(t, out.String(), "nothing within the first second")

	now = now.Add(2 * time.Second)
	b.bytes(50e6, 100e6)
	require.Contains(t, out.String(), "50 MB of 100 MB, 25 MB/s, 2s left")
	out.Reset()
	now = now.Add(50 * time.Millisecond)
	b.bytes(60e6, 100e6)
	require.Empty(t, out.String(), "not drawn so often")
	b.finish()
	require.Equal(t, "\r\x1b[K", out.String(), "the line is taken away")
	out.Reset()
	b.finish()
	require.Empty(t, out.String())

	now = now.Add(time.Minute)
	b.start("next")
	b.bytes(1, 2)
	require.Empty(t, out.String(), "each begins anew")
}

func TestNoBarWithoutTerminal(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	require.NoError(t, err)
	defer f.Close()
	require.Nil(t, newBar(f))
	require.Nil(t, newBar(new(strings.Builder)))
	b := newBar(f)
	b.start("x")
	b.bytes(1, 2)
	b.steps(0.5, "x")
	b.finish()
}
