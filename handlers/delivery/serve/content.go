// Package serve sends one content over HTTP as RFC 9110 has it: validators,
// single and multiple ranges, HEAD, and the bytes themselves by the cheapest
// way that the connection offers. It knows nothing of tokens or stores.
//
// What it promises:
//   - Content never changes under its hash, so the hash is the strong ETag. No
//     Last-Modified is sent: clones of one content differ in it.
//   - Memory does not grow with the content; one response uses at most one
//     pooled buffer.
//   - A body that fails in the middle is continued from that very byte by the
//     next one that Info.Next opens. With none left, Send says ErrBroken and the
//     caller must end the connection.
package serve

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers"
)

// ErrBroken says that a response can't be finished: its header, and perhaps a
// part of its body, has left, and no body is there to go on with. net/http
// wants such a handler to end by panic(http.ErrAbortHandler).
var ErrBroken = errors.New("response broken off")

// ErrUnreadable says that no body could be read and nothing was written: the
// caller may still answer otherwise.
var ErrUnreadable = errors.New("content can't be read now")

// Info is what is known of a content that is to be sent.
type Info struct {
	Hash content.Hash
	Ext  string // decides the Content-Type
	Size int64  // bytes

	// CacheControl is that header's value; "" means "private, no-transform,
	// no-cache".
	CacheControl string

	// Loosen loosens the web server's own bounds for this response; nil: it has
	// none.
	Loosen Loosen

	// Next opens the content anew, positioned at offset; of it, what lies before
	// end is wanted. It is called when a body failed, then from another clone, and
	// for each further range of a body that is no file. It must return an error
	// when there is nothing more to try. An *os.File among its results leaves by
	// sendfile. nil means that there is only the first body.
	Next func(offset, end int64) (io.ReadCloser, error)

	// Failed is told of each body that failed, before Next is called. May be nil.
	Failed func(err error)

	// Refuse answers a range that can't be satisfied; nil means JSON. Its error is
	// Send's. The header Content-Range is set by then.
	Refuse func(w http.ResponseWriter, r *http.Request, f *handlers.Fault) error
}

// Loosen has the web server wait long for a client that does not read (a paused
// player), until undo is called. chunk is the size in bytes of the pieces in
// which the server hands on what the response's ReadFrom is given, each as an
// io.LimitedReader around it; 0 where it hands it on as it is.
type Loosen func(r *http.Request) (chunk int64, undo func())

// Result tells what was sent.
type Result struct {
	Status int
	Sent   int64 // bytes of body that the connection took
}

// Plan is what a request for a content is answered with.
type Plan struct {
	info   *Info
	status int
	ranges []span // none for the whole, more than one for multipart
	head   bool   // no body is wanted
}

// Prepare decides what the request is answered with, from its method and
// headers alone: 200, 206, 304, 412 or 416. Ranges are honoured for GET, and
// for POST, whose routes that give content define them so; RFC 9110, 14.2 has
// HEAD ignore them. Conditions hold for GET and HEAD.
func Prepare(r *http.Request, info *Info) Plan {
	p := Plan{info: info, status: http.StatusOK, head: r.Method == http.MethodHead}
	if r.Method == http.MethodGet || p.head {
		if status := precondition(r.Header, info.Hash); status != 0 {
			p.status = status
			return p
		}
	}
	header := r.Header["Range"]
	if p.head || len(header) == 0 || !ifRange(r.Header, info.Hash) {
		return p
	}
	ranges, err := parseRange(header[0], info.Size)
	switch {
	case err != nil:
		p.status = http.StatusRequestedRangeNotSatisfiable
	case len(ranges) > 0:
		p.status, p.ranges = http.StatusPartialContent, ranges
	}
	return p
}

// Status is the status that Send will answer with.
func (p *Plan) Status() int { return p.status }

// HasBody tells whether Send needs a body: a GET or POST that gets content.
func (p *Plan) HasBody() bool {
	return !p.head && p.HasContent()
}

// HasContent tells whether Send describes content, so that it should be known
// to be there: a body or the HEAD of one.
func (p *Plan) HasContent() bool {
	return p.status == http.StatusOK || p.status == http.StatusPartialContent
}

// First returns the part of the content that Send begins with: from start up to,
// not including, end.
func (p *Plan) First() (start, end int64) {
	if len(p.ranges) > 0 {
		return p.ranges[0].start, p.ranges[0].end
	}
	return 0, p.info.Size
}

// Send answers the request. f is the open content, positioned anywhere; it may
// be nil where HasBody is false, and stays the caller's to close. A client that
// goes away is no error. Errors: ErrUnreadable, ErrBroken.
func (p *Plan) Send(w http.ResponseWriter, r *http.Request, f *os.File) (Result, error) {
	return p.send(w, r, sender{w: w, r: r, info: p.info, file: f})
}

// SendFrom is Send with a body as Info.Next gives it, positioned where First
// says. It is closed in any case.
func (p *Plan) SendFrom(w http.ResponseWriter, r *http.Request, body io.ReadCloser) (Result, error) {
	start, _ := p.First()
	return p.send(w, r, sender{w: w, r: r, info: p.info, file: fileOf(body), body: body, offset: start})
}

func (p *Plan) send(w http.ResponseWriter, r *http.Request, out sender) (Result, error) {
	defer out.close()
	switch p.status {
	case http.StatusNotModified, http.StatusPreconditionFailed:
		p.setCommon(w.Header())
		w.WriteHeader(p.status)
		return Result{Status: p.status}, nil
	case http.StatusRequestedRangeNotSatisfiable:
		return p.refuse(w, r)
	}
	q := parseQuery(r.URL.RawQuery)
	h := w.Header()
	p.setCommon(h)
	p.setBody(h, q)

	out.pace.rate = q.rate
	var err error
	switch len(p.ranges) {
	case 0:
		setOne(h, "Content-Length", strconv.FormatInt(p.info.Size, 10))
		err = out.single(p.status, span{0, p.info.Size}, p.head)
	case 1:
		s := p.ranges[0]
		setOne(h, "Content-Length", strconv.FormatInt(s.length(), 10))
		setOne(h, "Content-Range", string(s.appendTo(make([]byte, 0, 64), p.info.Size)))
		err = out.single(p.status, s, false)
	default:
		err = out.multipart(p.ranges)
	}
	return Result{Status: p.status, Sent: out.sent}, err
}

func (p *Plan) refuse(w http.ResponseWriter, r *http.Request) (Result, error) {
	size := strconv.FormatInt(p.info.Size, 10)
	setOne(w.Header(), "Content-Range", "bytes */"+size)
	setOne(w.Header(), "Accept-Ranges", "bytes")
	f := handlers.Faultf(handlers.BadRange, "The range is outside the content, which has %s bytes", size)
	refuse := p.info.Refuse
	if refuse == nil {
		refuse = func(w http.ResponseWriter, r *http.Request, f *handlers.Fault) error {
			return handlers.WriteFault(w, r, f, false, true)
		}
	}
	return Result{Status: p.status}, refuse(w, r, f)
}
