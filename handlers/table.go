package handlers

import (
	"errors"
	"net/http"

	"go.uber.org/zap"
)

// Route is one row of a role's API.
type Route struct {
	Methods Methods
	Counter string // under which it is counted
	Headers bool   // its failures are told in the headers OOSE-… as well
	Objects bool   // OOSE 2.x told its failures as objects
	// Serve returns what is answered as JSON: with 200, or as a Status says; nil
	// means that it has answered itself.
	Serve func(w http.ResponseWriter, r *http.Request) (any, error)
}

// Status is an answer with another status than 200.
type Status struct {
	Code int
	Body any
}

// ErrUnauthorized has a Table answer 401 with the challenge of basic auth.
var ErrUnauthorized = errors.New("unauthorized")

// Table is a role's API: its routes, and how their answers and failures are
// told.
type Table struct {
	// Routes by path. The path "/content/put/" stands for those that put a file.
	Routes   map[string]*Route
	Prefix   string // of the counters
	Compat   bool   // answer with the statuses of OOSE 2.x
	Counters *Counters
	Log      *zap.Logger
	Fault    func(error) *Fault // what a client is told about an error
}

// PutRoute is the path in a Table of the route that puts a file.
const PutRoute = "/content/put/"

// match returns the route of a path as the URL has it, escaped: an encoded
// slash makes another path.
func (t *Table) match(escaped string) (*Route, bool) {
	path := TrimSlash(escaped)
	if _, ok := PutPath(path); ok {
		path = PutRoute
	} else if path == PutRoute {
		return nil, false
	}
	rt, ok := t.Routes[path]
	return rt, ok
}

// Serve answers a request. It returns ErrNotMine, with nothing written, for
// what is none of the routes.
func (t *Table) Serve(w http.ResponseWriter, r *http.Request) error {
	rt, ok := t.match(r.URL.EscapedPath())
	if !ok {
		return ErrNotMine
	}
	t.Counters.Add(t.Prefix+".requests", 1)
	t.Counters.Add(t.Prefix+"."+rt.Counter, 1)
	mine, err := rt.Methods.Check(w, r)
	var answer any
	if err == nil && mine {
		answer, err = rt.Serve(w, r)
	}
	if err != nil {
		t.fail(rt, w, r, err)
		return nil
	}
	switch answer := answer.(type) {
	case nil:
	case Status:
		t.write(w, r, answer.Code, answer.Body)
	default:
		t.write(w, r, http.StatusOK, answer)
	}
	return nil
}

// write answers with JSON. Answers are about what changes, and hold secrets.
func (t *Table) write(w http.ResponseWriter, r *http.Request, status int, answer any) {
	w.Header().Set("Cache-Control", "no-store")
	if err := WriteJSON(w, r, status, answer); err != nil {
		t.Log.Debug("answer was not sent", zap.Error(err))
	}
}

// fail answers a request that went wrong.
func (t *Table) fail(rt *Route, w http.ResponseWriter, r *http.Request, err error) {
	t.Counters.Fail(t.Prefix+"."+rt.Counter, 1)
	if errors.Is(err, ErrUnauthorized) {
		_ = WriteUnauthorized(w, r) // a client that is gone needs no answer
		return
	}
	f := t.Fault(err)
	if f.Code == Internal || f.Code == UploadFailed {
		t.Log.Error("request failed", zap.String("route", rt.Counter), zap.Error(err))
	} else {
		t.Log.Debug("request refused", zap.String("route", rt.Counter), zap.Error(err))
	}
	SetFaultHeaders(w.Header(), f, t.Compat, rt.Headers)
	var body any = map[string]string{"error": f.Message}
	if rt.Objects && t.Compat && f.Code.isObject() {
		body = map[string]any{"error": map[string]string{"message": f.Message, "name": string(f.Code.Reason())}}
	}
	t.write(w, r, f.Code.Status(t.Compat), body)
}

// isObject tells whether OOSE 2.x told this failure as an object, on the route
// that does so: it was its own, and not one of what stood before the route.
func (c Code) isObject() bool {
	return c != MethodNotAllowed && c != Unauthenticated && c != Malformed && c != Unsupported && c != TooLarge
}
