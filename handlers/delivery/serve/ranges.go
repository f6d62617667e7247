package serve

import (
	"errors"
	"strconv"
	"strings"
)

// maxRanges is how many ranges one request may name; more get the whole.
const maxRanges = 16

// errUnsatisfiable says that no range lies within the content: 416.
var errUnsatisfiable = errors.New("no range within the content")

// span is a part of a content: from start up to, not including, end.
type span struct{ start, end int64 }

func (s span) length() int64 { return s.end - s.start }

// appendTo appends the value of Content-Range.
func (s span) appendTo(b []byte, size int64) []byte {
	b = append(b, "bytes "...)
	b = strconv.AppendInt(b, s.start, 10)
	b = append(b, '-')
	b = strconv.AppendInt(b, s.end-1, 10)
	b = append(b, '/')
	return strconv.AppendInt(b, size, 10)
}

// parseRange reads a Range header (RFC 9110, 14.1.2 and 14.2) for a content of
// size bytes. No spans and no error means that the whole is to be sent: the
// header has another unit or is malformed, the content is empty, or the ranges
// are too many, overlap, or add up to the whole or more (14.2 allows that, so
// that a few bytes of request can't cost many of response).
func parseRange(header string, size int64) ([]span, error) {
	const unit = "bytes="
	if len(header) < len(unit) || !strings.EqualFold(header[:len(unit)], unit) || size == 0 {
		return nil, nil
	}
	rest := header[len(unit):]
	if strings.Count(rest, ",") >= maxRanges {
		return nil, nil
	}
	var spans []span
	found := false
	for rest != "" {
		var text string
		text, rest, _ = strings.Cut(rest, ",")
		text = strings.Trim(text, " \t")
		if text == "" {
			continue
		}
		s, ok := parseSpan(text, size)
		if !ok {
			return nil, nil
		}
		found = true
		if s.length() > 0 {
			spans = append(spans, s)
		}
	}
	if found && len(spans) == 0 {
		return nil, errUnsatisfiable
	}
	if len(spans) > 1 && wasteful(spans, size) {
		return nil, nil
	}
	return spans, nil
}

// parseSpan reads "a-b", "a-" or "-n". A span outside the content is empty;
// false means that the text is malformed.
func parseSpan(text string, size int64) (span, bool) {
	first, last, ok := strings.Cut(text, "-")
	if !ok {
		return span{}, false
	}
	if first == "" {
		n, ok := parseDigits(last)
		if !ok {
			return span{}, false
		}
		return span{size - min(n, size), size}, true
	}
	start, ok := parseDigits(first)
	if !ok {
		return span{}, false
	}
	if last == "" {
		return span{min(start, size), size}, true
	}
	end, ok := parseDigits(last)
	if !ok || end < start {
		return span{}, false
	}
	if start >= size {
		return span{}, true
	}
	return span{start, min(end, size-1) + 1}, true
}

// wasteful tells whether spans overlap or add up to the whole or more.
func wasteful(spans []span, size int64) bool {
	var sum int64
	for i, a := range spans {
		sum += a.length()
		for _, b := range spans[:i] {
			if a.start < b.end && b.start < a.end {
				return true
			}
		}
	}
	return sum >= size
}

// parseDigits reads decimal digits; a number too large becomes the largest.
func parseDigits(s string) (int64, bool) {
	if s == "" {
		return 0, false
	}
	const most = 1<<63 - 1
	var n int64
	for i := range len(s) {
		c := s[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		d := int64(c - '0')
		if n > (most-d)/10 {
			n = most
			continue
		}
		n = n*10 + d
	}
	return n, true
}
