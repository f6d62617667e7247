package serve

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// query is what the arguments of a content's URL ask for.
type query struct {
	attach string // the file name to save under, cleaned; "" for none
	rate   int64  // bytes a second, 0 for no limit
}

// parseQuery reads the arguments that content routes know: attach and rate.
// `start` begins an MP4 or FLV later; it is accepted and does nothing yet. The
// first of several counts. What is malformed counts as absent, as with nginx,
// so that a player's odd argument never costs the film.
func parseQuery(raw string) query {
	var q query
	if raw == "" {
		return q
	}
	seenAttach, seenRate := false, false
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		key, value, _ := strings.Cut(pair, "=")
		switch {
		case key == "attach" && !seenAttach:
			seenAttach = true
			if name, err := url.QueryUnescape(value); err == nil {
				q.attach = cleanName(name)
			}
		case key == "rate" && !seenRate:
			seenRate = true
			q.rate, _ = parseRate(value)
		}
	}
	return q
}

// parseRate reads a rate in bytes a second: digits, then k (1024) or m (1024²)
// or nothing. Zero is no limit. False means that the text is no rate.
func parseRate(s string) (int64, bool) {
	if s == "" {
		return 0, false
	}
	shift := 0
	switch s[len(s)-1] {
	case 'k', 'K':
		shift, s = 10, s[:len(s)-1]
	case 'm', 'M':
		shift, s = 20, s[:len(s)-1]
	}
	n, ok := parseDigits(s)
	if !ok {
		return 0, false
	}
	if n > (1<<63-1)>>shift {
		return 0, true // beyond what a connection can do
	}
	return n << shift, true
}

// maxName is the longest file name in a Content-Disposition, in bytes: what
// file systems take.
const maxName = 255

// cleanName makes a text that a client sent fit to be a file name: no control
// characters, nothing that separates paths or reverses the reading order, valid
// UTF-8, at most maxName bytes with the extension kept. "" means that nothing
// is left.
func cleanName(s string) string {
	s = strings.Map(func(c rune) rune {
		switch {
		case c == utf8.RuneError, c < ' ', c >= 0x7f && c < 0xa0, c == '/', c == '\\', c == ':':
			return -1
		case c == 0x2028, c == 0x2029, c >= 0x200e && c <= 0x200f, c >= 0x202a && c <= 0x202e, c >= 0x2066 && c <= 0x2069:
			return -1
		}
		return c
	}, strings.ToValidUTF8(s, ""))
	s = strings.Trim(s, " .")
	if len(s) <= maxName {
		return s
	}
	ext := ""
	if i := strings.LastIndexByte(s, '.'); i >= 0 && len(s)-i <= 17 {
		ext = s[i:]
	}
	base := s[:maxName-len(ext)]
	for !utf8.ValidString(base) {
		base = base[:len(base)-1]
	}
	return strings.TrimRight(base, " .") + ext
}

// disposition returns the Content-Disposition that has a browser save the
// content under a clean name (RFC 6266; the form for what is not ASCII is that
// of RFC 8187).
func disposition(name string) string {
	b := make([]byte, 0, len(name)+64)
	b = append(b, `attachment; filename="`...)
	ascii := true
	for _, c := range name {
		switch {
		case c >= utf8.RuneSelf:
			ascii = false
			b = append(b, '_')
		case c == '"' || c == '%':
			// Some browsers decode percent signs here, and none agree on escaped quotes.
			ascii = false
			b = append(b, '_')
		default:
			b = append(b, byte(c))
		}
	}
	b = append(b, '"')
	if !ascii {
		b = append(b, "; filename*=UTF-8''"...)
		b = appendExtValue(b, name)
	}
	return string(b)
}

// appendExtValue percent-encodes all but the attr-chars of RFC 8187, 3.2.1.
func appendExtValue(b []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("!#$&+-.^_`|~", c) >= 0:
			b = append(b, c)
		default:
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return b
}
