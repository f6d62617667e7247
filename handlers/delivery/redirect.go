package delivery

import (
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
)

// reachable returns what the URLs begin with of the first available store that
// holds the content and that clients can reach; list is those of this process.
func (h *Handler) reachable(p *inventory.Placement, list []candidate) (string, bool) {
	for _, candidates := range [2]func() []candidate{
		func() []candidate { return list },
		func() []candidate { return h.away(p, false) },
	} {
		for _, cand := range candidates() {
			if cand.failing {
				continue // what comes of it would be the client's to find out
			}
			if base, ok := h.storeURL(cand.clone.Store); ok {
				return strings.TrimSuffix(base, "/"), true
			}
		}
	}
	return "", false
}

// redirectTo answers 302. The store checks the purchase anew: where it has
// referrers, the browser must go on sending what it sent here, so that the
// response says nothing about that.
func (h *Handler) redirectTo(w http.ResponseWriter, r *http.Request, kind Kind, target string, referrers bool) error {
	header := w.Header()
	header.Set("Location", target)
	header.Set("Cache-Control", "private, no-store")
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("X-Content-Type-Options", "nosniff")
	if !referrers {
		header.Set("Referrer-Policy", "no-referrer")
	}
	body := "Found. Redirecting to " + target
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusFound)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, body) // a client that is gone needs no redirect
	}
	h.deps.Metrics.Request(kind, http.StatusFound, 0)
	return nil
}

// playQuery returns the query of a store's play URL with its question mark: the
// request's own, with `start=0` added for a video that has neither `start` nor
// `html5`, since players of old ask for the beginning that way.
func playQuery(ext, raw string) string {
	raw = strings.Trim(raw, "&")
	if strings.HasPrefix(content.MediaType(ext), "video/") && !hasArgument(raw, "start") && !hasArgument(raw, "html5") {
		if raw != "" {
			raw += "&"
		}
		raw += "start=0"
	}
	if raw == "" {
		return ""
	}
	return "?" + escapeQuery(raw)
}

// hasArgument tells whether a query has an argument, with or without a value.
func hasArgument(raw, name string) bool {
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if key, _, _ := strings.Cut(pair, "="); key == name {
			return true
		}
	}
	return false
}

// escapeQuery escapes the bytes of a raw query that may not stand in a URL, and
// leaves all else as the client sent it.
func escapeQuery(raw string) string {
	const hex = "0123456789ABCDEF"
	clean := true
	for i := range len(raw) {
		clean = clean && isQueryByte(raw[i])
	}
	if clean {
		return raw
	}
	b := make([]byte, 0, len(raw)+16)
	for i := range len(raw) {
		if c := raw[i]; isQueryByte(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(b)
}

func isQueryByte(c byte) bool {
	return c > ' ' && c < 0x7f && c != '"' && c != '<' && c != '>' && c != '#' && c != '\\' && c != '`'
}
