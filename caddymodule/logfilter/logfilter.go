// Package logfilter keeps purchase tokens out of Caddy's logs.
package logfilter

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/logging"
	"go.uber.org/zap/zapcore"

	"github.com/ooseio/oose/purchase"
)

func init() {
	caddy.RegisterModule(TokenFilter{})
}

// TokenFilter is a log field filter that shortens every purchase token in a
// field to its zone, its date and six digits of its SHA-256
// (`a20261120~3f9c1e`), so that lines about one purchase can be matched and
// nobody who reads a log can fetch with it. It finds tokens anywhere in the
// text, percent-encoded ones too, also several times; a token that lost its
// last few characters is shortened as well, because the rest could be
// guessed. It works on text, on arrays (headers) and on whole objects.
//
// It has no settings. Use it for `request>uri` and `resp_headers>Location`,
// and delete `request>headers>Referer` and the session header, in the global
// log as well as in the sites'.
type TokenFilter struct{}

// CaddyModule returns the Caddy module information.
func (TokenFilter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.logging.encoders.filter.oose_token",
		New: func() caddy.Module { return new(TokenFilter) },
	}
}

// UnmarshalCaddyfile sets up the filter. Syntax, within `format filter`:
//
//	<field> oose_token
func (*TokenFilter) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the filter's name
	if d.NextArg() {
		return d.Errf("oose_token takes no arguments, got '%s'", d.Val())
	}
	return nil
}

// Filter returns the field with its tokens shortened.
func (TokenFilter) Filter(in zapcore.Field) zapcore.Field { return maskField(in) }

// What a token looks like: a zone (a-z0-9), a date (YYYYMMDD), 11 letters and
// digits.
const (
	tokenLength = 20
	tokenPrefix = 9 // zone and date, which stay readable
	// tokenTail is how many of the 11 characters after the date make a text
	// worth hiding: with fewer, what is missing can't be guessed.
	tokenTail = 8
	// maxEncodings is how often a token may have been percent-encoded and is
	// found still: a URL in the query of a URL in the query of a URL.
	maxEncodings = 4
)

// maskTokens returns s with every token in it shortened, and s itself if there
// is none.
func maskTokens(s string) string {
	found := appendTokenSpans(nil, s, nil)
	if strings.IndexByte(s, '%') >= 0 {
		text, at := s, []int(nil)
		for range maxEncodings {
			var changed bool
			if text, at, changed = decodePercent(text, at); !changed {
				break
			}
			found = appendTokenSpans(found, text, at)
		}
	}
	if len(found) == 0 {
		return s
	}
	return replaceSpans(s, found)
}

// tokenSpan is where a token stands in the text as it came, and what it says.
type tokenSpan struct {
	start, end int
	token      string
}

// appendTokenSpans finds the tokens of a decoded text. at[i] is where byte i
// of it begins in the text as it came, and at[len(text)] is that text's
// length; a nil at stands for the text as it came.
func appendTokenSpans(spans []tokenSpan, text string, at []int) []tokenSpan {
	pos := func(i int) int {
		if at == nil {
			return i
		}
		return at[i]
	}
	for i := 0; i < len(text); {
		if !isAlnum(text[i]) {
			i++
			continue
		}
		end := i + 1
		for end < len(text) && isAlnum(text[end]) {
			end++
		}
		alone := end-i == tokenLength // the run is nothing but a token: any digits will do for its date
		for ; end-i >= tokenPrefix+tokenTail; i++ {
			if isTokenPrefix(text[i:], !alone) {
				last := min(end, i+tokenLength)
				spans = append(spans, tokenSpan{pos(i), pos(last), text[i:last]})
			}
			alone = false
		}
		i = end
	}
	return spans
}

// isTokenPrefix says whether s begins with a zone and a date. Where the text
// around it leaves open whether there is a token at all (a hash has many runs
// of digits), the date must be one that a clock could have shown.
func isTokenPrefix(s string, plausible bool) bool {
	if c := s[0]; !isDigit(c) && (c < 'a' || c > 'z') {
		return false
	}
	date := s[1:tokenPrefix]
	for i := range len(date) {
		if !isDigit(date[i]) {
			return false
		}
	}
	if !plausible {
		return true
	}
	year, month, day := date[:4], date[4:6], date[6:]
	return year >= "2000" && year < "2200" && month >= "01" && month <= "12" && day >= "01" && day <= "31"
}

// decodePercent takes one layer of percent-encoding from text; what is no
// valid escape stays. It keeps account of where each byte came from.
func decodePercent(text string, at []int) (string, []int, bool) {
	if at == nil {
		at = make([]int, len(text)+1)
		for i := range at {
			at[i] = i
		}
	}
	out := make([]byte, 0, len(text))
	from := make([]int, 0, len(at))
	for i := 0; i < len(text); i++ {
		from = append(from, at[i])
		if text[i] == '%' && i+2 < len(text) {
			hi, lo := unhex(text[i+1]), unhex(text[i+2])
			if hi >= 0 && lo >= 0 {
				out = append(out, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		out = append(out, text[i])
	}
	from = append(from, at[len(text)])
	return string(out), from, len(out) != len(text)
}

// replaceSpans puts the short form in the place of each span; of several that
// overlap, one short form stands for all.
func replaceSpans(s string, spans []tokenSpan) string {
	slices.SortFunc(spans, func(a, b tokenSpan) int { return a.start - b.start })
	var b strings.Builder
	done := 0
	for i := 0; i < len(spans); {
		widest, end := spans[i], spans[i].end
		j := i + 1
		for ; j < len(spans) && spans[j].start < end; j++ {
			if n := spans[j]; n.end-n.start > widest.end-widest.start {
				widest = n
			}
			end = max(end, spans[j].end)
		}
		b.WriteString(s[done:spans[i].start])
		b.WriteString(purchase.Token(widest.token).Short())
		done, i = end, j
	}
	b.WriteString(s[done:])
	return b.String()
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isAlnum(c byte) bool {
	return isDigit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func unhex(c byte) int {
	switch {
	case isDigit(c):
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// Interface guards
var (
	_ logging.LogFieldFilter = (*TokenFilter)(nil)
	_ caddyfile.Unmarshaler  = (*TokenFilter)(nil)
)
