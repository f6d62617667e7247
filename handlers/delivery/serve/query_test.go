package serve

import (
	"mime"
	"net/url"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestParseRate(t *testing.T) {
	for _, tc := range []struct {
		text string
		want int64
		ok   bool
	}{
		{"1", 1, true}, {"0", 0, true}, {"500", 500, true}, {"10k", 10 << 10, true}, {"10K", 10 << 10, true},
		{"2m", 2 << 20, true}, {"2M", 2 << 20, true}, {"007k", 7 << 10, true},
		{"99999999999999999999999m", 0, true}, {"9007199254740992k", 0, true},
		{"", 0, false}, {"k", 0, false}, {"-1", 0, false}, {"+1", 0, false}, {"1.5m", 0, false}, {"1g", 0, false},
		{"1kk", 0, false}, {" 1", 0, false}, {"1 ", 0, false}, {"0x10", 0, false}, {"1e3", 0, false}, {"١", 0, false},
	} {
		got, ok := parseRate(tc.text)
		require.Equal(t, tc.ok, ok, tc.text)
		require.Equal(t, tc.want, got, tc.text)
	}
}

func FuzzRate(f *testing.F) {
	for _, s := range []string{"1", "10k", "2M", "", "k", "99999999999999999999m", "-1", "1.5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := parseRate(s)
		if n < 0 || !ok && n != 0 {
			t.Fatalf("%q gave %d, %v", s, n, ok)
		}
	})
}

func TestParseQuery(t *testing.T) {
	for raw, want := range map[string]query{
		"":                           {},
		"start=30":                   {},
		"attach=a.mp4":               {attach: "a.mp4"},
		"attach=a.mp4&attach=b.mp4":  {attach: "a.mp4"},
		"rate=10k&attach=x":          {attach: "x", rate: 10 << 10},
		"rate=no&rate=5":             {},
		"attach=%zz&rate=5":          {rate: 5},
		"attach=%2e%2e%2fetc%2fpass": {attach: "etcpass"},
		"attach=a%0d%0aSet-Cookie:b": {attach: "aSet-Cookieb"},
		"attach=%00%7f":              {},
		"attach=..":                  {},
		"attach":                     {},
		"attach=na%C3%AFve+x.txt":    {attach: "naïve x.txt"},
		"attach=%ff%feok":            {attach: "ok"},
		"attach=gpj.%E2%80%AEexe":    {attach: "gpj.exe"},
		"&&&=&rate=1m":               {rate: 1 << 20},
	} {
		require.Equal(t, want, parseQuery(raw), raw)
	}
}

func TestDisposition(t *testing.T) {
	for name, want := range map[string]string{
		"movie.mp4":     `attachment; filename="movie.mp4"`,
		"a b;c=d.txt":   `attachment; filename="a b;c=d.txt"`,
		`say "hi".txt`:  `attachment; filename="say _hi_.txt"; filename*=UTF-8''say%20%22hi%22.txt`,
		"100%25.txt":    `attachment; filename="100_25.txt"; filename*=UTF-8''100%2525.txt`,
		"naïve€.txt":    `attachment; filename="na_ve_.txt"; filename*=UTF-8''na%C3%AFve%E2%82%AC.txt`,
		"日本.mp4":        `attachment; filename="__.mp4"; filename*=UTF-8''%E6%97%A5%E6%9C%AC.mp4`,
		"it's (1)*.zip": `attachment; filename="it's (1)*.zip"`,
	} {
		require.Equal(t, want, disposition(name), name)
	}
}

func FuzzAttach(f *testing.F) {
	for _, s := range []string{"a.mp4", `"; filename=x`, "../../etc/passwd", "a\r\nSet-Cookie: x", "日本.mp4", "\x00", "a%00b", strings.Repeat("é", 400) + ".mp4", "CON", "...", "a\u202egpj"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name := parseQuery("attach=" + url.QueryEscape(s)).attach
		if name == "" {
			return
		}
		if len(name) > maxName || !utf8.ValidString(name) || strings.ContainsAny(name, "/\\") || strings.IndexFunc(name, unicode.IsControl) >= 0 {
			t.Fatalf("%q became %q", s, name)
		}
		header := disposition(name)
		for i := range len(header) {
			if header[i] < ' ' || header[i] > '~' {
				t.Fatalf("header %q", header)
			}
		}
		kind, params, err := mime.ParseMediaType(header)
		if err != nil || kind != "attachment" {
			t.Fatalf("header %q: %v", header, err)
		}
		if !strings.Contains(header, "filename*") && params["filename"] != strings.ReplaceAll(name, "\\", "") {
			t.Fatalf("%q is read as %q", name, params["filename"])
		}
		if strings.Contains(header, "filename*") && params["filename"] != name {
			t.Fatalf("%q is read as %q", name, params["filename"])
		}
	})
}

func TestLongNameKeepsItsExtension(t *testing.T) {
	name := cleanName(strings.Repeat("é", 400) + ".mp4")
	require.LessOrEqual(t, len(name), maxName)
	require.True(t, strings.HasSuffix(name, "é.mp4"))
	require.True(t, utf8.ValidString(name))
}
