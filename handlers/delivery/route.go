package delivery

import (
	"strings"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/purchase"
)

// route is what a path asks for.
type route struct {
	kind  Kind
	token purchase.Token
	hash  content.Hash // zero where the segment is no hash: it is nobody's content
	name  string       // the last segment
}

// parseRoute reads a decoded path. False means that the path has none of the
// shapes `/<token>/<name>`, `/static/<hash>/<name>`, `/crossdomain.xml`, `/ping`.
func parseRoute(path string) (route, bool) {
	switch path {
	case "/ping", "/ping/":
		return route{kind: kindPing}, true
	case "/crossdomain.xml":
		return route{kind: kindCrossdomain}, true
	}
	if rest, ok := strings.CutPrefix(path, "/static/"); ok {
		hash, name, ok := strings.Cut(rest, "/")
		if !ok || hash == "" || !isSegment(name) {
			return route{}, false
		}
		h, _ := content.ParseHash(hash) // what is no hash is answered like an unknown one
		return route{kind: kindStatic, hash: h, name: name}, true
	}
	rt, ok := parseTokenPath(path)
	rt.kind = kindPurchase
	return rt, ok
}

// parseTokenPath reads `/<token>/<name>`.
func parseTokenPath(path string) (route, bool) {
	if len(path) == 0 || path[0] != '/' {
		return route{}, false
	}
	first, name, ok := strings.Cut(path[1:], "/")
	if !ok || !isSegment(name) || len(first) != tokenLen {
		return route{}, false
	}
	token, err := purchase.ParseToken(first)
	if err != nil {
		return route{}, false
	}
	return route{token: token, name: name}, true
}

// tokenLen keeps paths of other lengths from the cost of an error's text.
const tokenLen = 20

// isSegment tells whether s is one segment of a path, and not empty.
func isSegment(s string) bool { return s != "" && strings.IndexByte(s, '/') < 0 }

// parseStorePath reads the public paths of a store: `/static/<aa/bb/…/zz.ext>`,
// `/play/<token>/<name>` and `/purchase/uri/play/<token>/<name>`.
func parseStorePath(path string) (route, bool) {
	if rest, ok := strings.CutPrefix(path, "/static/"); ok {
		h, name, ok := parsePairs(rest)
		return route{kind: kindStatic, hash: h, name: name}, ok
	}
	if rest, ok := strings.CutPrefix(path, "/play"); ok {
		rt, ok := parseTokenPath(rest)
		rt.kind = kindPlay
		return rt, ok
	}
	if rest, ok := strings.CutPrefix(path, "/purchase/uri/play/"); ok {
		first, name, ok := strings.Cut(rest, "/")
		if !ok || first == "" || !isSegment(name) {
			return route{}, false
		}
		token, _ := purchase.ParseToken(first) // nginx gets its text for what is none, too
		return route{kind: kindURI, token: token, name: name}, true
	}
	return route{}, false
}

// parsePairs reads a digest written in pairs, with an extension:
// "aa/bb/…/zz.ext". name is the last pair with its extension.
func parsePairs(s string) (h content.Hash, name string, ok bool) {
	var digits [128]byte
	n := 0
	for n+2 <= len(digits) && len(s) >= 3 && s[2] == '/' {
		n += copy(digits[n:], s[:2])
		s = s[3:]
	}
	if n+2 > len(digits) || len(s) < 2 || !isSegment(s) || len(s) > 2 && s[2] != '.' {
		return content.Hash{}, "", false
	}
	n += copy(digits[n:], s[:2])
	h, err := content.ParseHash(string(digits[:n]))
	return h, s, err == nil
}

// appendPairs appends what parsePairs reads, without the extension.
func appendPairs(b []byte, h content.Hash) []byte {
	var buf [128]byte
	hex := h.AppendTo(buf[:0])
	for i := 0; i+2 <= len(hex); i += 2 {
		if i > 0 {
			b = append(b, '/')
		}
		b = append(b, hex[i:i+2]...)
	}
	return b
}

// extOf returns the extension that a name ends with, "" for none.
func extOf(name string) string {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		return name[i+1:]
	}
	return ""
}
