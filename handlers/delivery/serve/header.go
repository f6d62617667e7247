package serve

import (
	"net/http"
	"strings"

	"github.com/ooseio/oose/content"
)

// setOne sets a header whose key is in canonical form, without the cost of
// making it so. Values are never shared between responses: other handlers may
// replace within them.
func setOne(h http.Header, key, value string) { h[key] = []string{value} }

// etag appends the strong ETag of a content (RFC 9110, 8.8.3).
func etag(b []byte, h content.Hash) []byte {
	b = append(b, '"')
	b = h.AppendTo(b)
	return append(b, '"')
}

// setCommon sets what 200, 206, 304 and 412 have in common.
func (p *Plan) setCommon(h http.Header) {
	cache := p.info.CacheControl
	if cache == "" {
		cache = "private, no-transform, no-cache"
	}
	// One array for all these values, each cut so that an append copies it.
	v := make([]string, 4)
	v[0], v[1], v[2], v[3] = string(etag(make([]byte, 0, 130), p.info.Hash)), cache, "no-referrer", "nosniff"
	h["Etag"], h["Cache-Control"], h["Referrer-Policy"], h["X-Content-Type-Options"] = v[0:1:1], v[1:2:2], v[2:3:3], v[3:4:4]
}

// setBody sets what 200 and 206 have beyond that.
func (p *Plan) setBody(h http.Header, q query) {
	mediaType := content.MediaType(p.info.Ext)
	v := make([]string, 2)
	v[0], v[1] = "bytes", mediaType
	h["Accept-Ranges"], h["Content-Type"] = v[0:1:1], v[1:2:2]
	if isActive(mediaType) {
		setOne(h, "Content-Security-Policy", sandbox)
	}
	if q.attach != "" {
		setOne(h, "Content-Disposition", disposition(q.attach))
	}
}

// sandbox makes a document that a user uploaded unable to act in our name: no
// script, no form, no origin, nothing loaded from elsewhere.
const sandbox = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; sandbox"

// isActive tells whether a browser would run what is in a document of that
// type. Media within pages (an SVG as <img>) are not touched by the sandbox.
func isActive(mediaType string) bool {
	return strings.HasPrefix(mediaType, "text/html") || strings.Contains(mediaType, "xml")
}

// precondition evaluates If-Match and If-None-Match (RFC 9110, 13.2.2) and
// returns the status that ends the request, or 0. There is no modification
// date, so the conditions about one are ignored, as 13.1.4 has it.
func precondition(h http.Header, hash content.Hash) int {
	if match := h["If-Match"]; len(match) > 0 && !matches(match, hash, false) {
		return http.StatusPreconditionFailed
	}
	if none := h["If-None-Match"]; len(none) > 0 && matches(none, hash, true) {
		return http.StatusNotModified
	}
	return 0
}

// matches tells whether a list of entity tags has the content's, or is "*".
func matches(lists []string, hash content.Hash, weak bool) bool {
	tag := etag(make([]byte, 0, 130), hash)
	for _, list := range lists {
		for list != "" {
			list = strings.TrimLeft(list, " \t,")
			if strings.HasPrefix(list, "*") {
				return true
			}
			isWeak := strings.HasPrefix(list, "W/")
			if isWeak {
				list = list[2:]
			}
			if !strings.HasPrefix(list, `"`) {
				break // not an entity tag: what follows can't be understood
			}
			end := strings.IndexByte(list[1:], '"')
			if end < 0 {
				break
			}
			if list[:end+2] == string(tag) && (weak || !isWeak) {
				return true
			}
			list = list[end+2:]
		}
	}
	return false
}

// ifRange tells whether ranges are to be honoured: If-Range is absent, or the
// content's strong ETag. A date never matches, since we send none.
func ifRange(h http.Header, hash content.Hash) bool {
	v := h["If-Range"]
	if len(v) == 0 || v[0] == "" {
		return true
	}
	return strings.TrimSpace(v[0]) == string(etag(make([]byte, 0, 130), hash))
}
