package delivery

import (
	"net/http"
	"strings"
)

// exposed is what a page of another origin may read of a response.
const exposed = "Accept-Ranges, Content-Disposition, Content-Length, Content-Range, ETag, OOSE-Code, OOSE-Reason, OOSE-Message, Retry-After"

// cors is which pages of other origins may read what is delivered. The zero
// cors sends no header. Credentials are never allowed: the URL is the right.
type cors struct {
	all     bool
	origins map[string]bool
}

func newCORS(list []string) cors {
	var c cors
	for _, origin := range list {
		if origin == "*" {
			return cors{all: true}
		}
		if c.origins == nil {
			c.origins = make(map[string]bool, len(list))
		}
		c.origins[strings.ToLower(strings.TrimSuffix(origin, "/"))] = true
	}
	return c
}

func (c cors) on() bool { return c.all || len(c.origins) > 0 }

// set sets what every response carries.
func (c cors) set(h http.Header, r *http.Request) {
	if !c.on() {
		return
	}
	if c.all {
		h["Access-Control-Allow-Origin"] = []string{"*"}
		h["Access-Control-Expose-Headers"] = []string{exposed}
		return
	}
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin != "" && c.origins[strings.ToLower(origin)] {
		h["Access-Control-Allow-Origin"] = []string{origin}
		h["Access-Control-Expose-Headers"] = []string{exposed}
	}
}

// setPreflight adds what the answer to OPTIONS carries beyond that.
func (c cors) setPreflight(h http.Header, methods string) {
	if h["Access-Control-Allow-Origin"] == nil {
		return
	}
	h.Set("Access-Control-Allow-Methods", methods)
	h.Set("Access-Control-Allow-Headers", "Range, If-Range, If-Match, If-None-Match, Accept, Cache-Control, Pragma")
	h.Set("Access-Control-Max-Age", "86400")
}
