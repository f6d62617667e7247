package handlers

import (
	"net/http"
	"strings"
)

// Methods are those that a route answers. With GET there is HEAD.
type Methods []string

// Allow returns the value of the header Allow.
func (m Methods) Allow() string {
	var b strings.Builder
	for _, method := range m {
		b.WriteString(method + ", ")
		if method == http.MethodGet {
			b.WriteString("HEAD, ")
		}
	}
	b.WriteString(http.MethodOptions)
	return b.String()
}

// Check tells whether the route has to answer the request: true where it has.
// OPTIONS is answered here, with 204; other methods give a Fault.
func (m Methods) Check(w http.ResponseWriter, r *http.Request) (bool, error) {
	if r.Method == http.MethodOptions {
		w.Header().Set("Allow", m.Allow())
		w.WriteHeader(http.StatusNoContent)
		return false, nil
	}
	for _, method := range m {
		if r.Method == method || method == http.MethodGet && r.Method == http.MethodHead {
			return true, nil
		}
	}
	f := Faultf(MethodNotAllowed, "This route does not answer %.16q, use %s", r.Method, strings.Join(m, " or "))
	f.Allow = m.Allow()
	return false, f
}

// TrimSlash returns a path without one slash at its end; the path "/" stays.
func TrimSlash(path string) string {
	if len(path) > 1 {
		return strings.TrimSuffix(path, "/")
	}
	return path
}
