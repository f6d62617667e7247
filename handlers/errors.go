// Package handlers is what the HTTP roles of a node share: how an error is
// told, how a caller is authenticated, how a body is bounded. The roles have
// a folder each: prism, store, delivery, cluster. All of it is plain net/http.
package handlers

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// ErrNotMine is what a role's Serve returns, with nothing written, for a
// request that is not one of its routes: the next handler is asked.
var ErrNotMine = errors.New("not a route of this handler")

// Reason classifies an error for clients (the header OOSE-Reason).
type Reason string

// The reasons that clients know.
const (
	UserError     Reason = "UserError"
	NotFoundError Reason = "NotFoundError"
	NetworkError  Reason = "NetworkError"
	SyntaxError   Reason = "SyntaxError"
)

// Code names one failure. Which status it is answered with, in the modern way
// and in that of OOSE 2.x, stands in one table (statuses).
type Code string

// The failures that an answer can tell.
const (
	Malformed        Code = "malformed"         // the request can't be understood
	Unauthenticated  Code = "unauthenticated"   // no credentials, or none that hold
	BadLogin         Code = "bad login"         // unknown user or wrong password
	RefererMissing   Code = "referrer missing"  // a purchase has referrers, the request none
	RefererRefused   Code = "referrer refused"  // ... and none of them matches
	AddressRefused   Code = "address refused"   // a purchase is bound to other addresses
	TypeDenied       Code = "type denied"       // only a purchase may fetch this type
	Blocked          Code = "blocked"           // the operator refuses this hash
	PurchaseUnknown  Code = "purchase unknown"  // no such token, or revoked
	PurchaseExpired  Code = "purchase expired"  // its life is over
	PurchaseSpent    Code = "purchase spent"    // its uses are counted out
	ContentUnknown   Code = "content unknown"   // nobody holds it
	StaticUnknown    Code = "static unknown"    // ... asked for as a static
	NoStore          Code = "no store"          // nobody who holds it is available
	InvalidHash      Code = "invalid hash"      // not a hash
	InvalidPurchase  Code = "invalid purchase"  // the hash in a purchase is not one
	InvalidDownload  Code = "invalid download"  // the hash of a download is not one
	InvalidToken     Code = "invalid token"     // not a token
	SessionNeeded    Code = "session needed"    // credentials hold, but the route is about a session
	Declared         Code = "declared"          // the configuration declares it, so it can't be changed
	Promised         Code = "promised"          // a clone that another store counts on
	Mismatch         Code = "hash mismatch"     // the bytes are not those of the hash
	Collision        Code = "collision"         // made for a collision attack on its digest
	TooLarge         Code = "too large"         // a body beyond its bound
	BadRange         Code = "range"             // a range outside the content
	TooMany          Code = "too many"          // misses or requests beyond their bound
	RetrieveInvalid  Code = "retrieve invalid"  // what to fetch is not understood
	RetrieveFailed   Code = "retrieve failed"   // the other server did not give the content
	RetrieveRefused  Code = "retrieve refused"  // the address is not one to fetch from
	RouteUnknown     Code = "route unknown"     // no such route
	MethodNotAllowed Code = "method"            // the route has other methods
	Unsupported      Code = "unsupported media" // a body in a form that is not understood
	Unavailable      Code = "unavailable"       // a dependency is away: Retry-After says when
	DiskFull         Code = "disk full"         // no store has room
	VerifyFailed     Code = "verify failed"     // a clone that was to be removed or sent is not sound
	SendFailed       Code = "send failed"       // a clone did not reach another store
	SendUnknown      Code = "send unknown"      // no such clone here, or no store of that name
	Internal         Code = "internal"          // our fault; the log has the cause

	// What the multipart upload fails with after it has begun: OOSE 2.x told
	// it with status 200.
	UploadUnavailable Code = "upload unavailable" // no store can take a clone now
	UploadFull        Code = "upload full"        // no store has room
	UploadFailed      Code = "upload failed"      // our fault; the log has the cause
)

type statusRow struct {
	modern, compat int
	reason         Reason
}

// statuses is the one table of what a failure is answered with: the modern
// status, the one of OOSE 2.x (`compat 2.x`), and the reason.
var statuses = map[Code]statusRow{
	Malformed:        {400, 400, UserError},
	Unauthenticated:  {401, 401, UserError},
	BadLogin:         {401, 401, UserError},
	RefererMissing:   {403, 500, UserError},
	RefererRefused:   {403, 500, UserError},
	AddressRefused:   {403, 500, UserError},
	TypeDenied:       {403, 500, UserError},
	Blocked:          {403, 404, NotFoundError},
	PurchaseUnknown:  {404, 404, NotFoundError},
	PurchaseExpired:  {410, 404, NotFoundError},
	PurchaseSpent:    {410, 404, NotFoundError},
	ContentUnknown:   {404, 404, NotFoundError},
	StaticUnknown:    {404, 404, NotFoundError},
	NoStore:          {503, 404, NotFoundError},
	InvalidHash:      {422, 500, UserError},
	InvalidPurchase:  {422, 500, UserError},
	InvalidDownload:  {422, 404, NotFoundError},
	InvalidToken:     {400, 500, UserError},
	SessionNeeded:    {401, 401, UserError},
	Declared:         {409, 409, UserError},
	Promised:         {409, 409, UserError},
	Mismatch:         {409, 500, UserError},
	Collision:        {422, 500, UserError},
	TooLarge:         {413, 413, UserError},
	BadRange:         {416, 416, UserError},
	TooMany:          {429, 429, UserError},
	RetrieveInvalid:  {400, 501, UserError},
	RetrieveFailed:   {502, 501, NetworkError},
	RetrieveRefused:  {403, 501, UserError},
	RouteUnknown:     {404, 404, NotFoundError},
	MethodNotAllowed: {405, 404, UserError},
	Unsupported:      {415, 415, SyntaxError},
	Unavailable:      {503, 503, NetworkError},
	DiskFull:         {507, 500, UserError},
	VerifyFailed:     {409, 200, UserError},
	SendFailed:       {502, 200, NetworkError},
	SendUnknown:      {404, 200, NotFoundError},
	Internal:         {500, 500, NetworkError},

	UploadUnavailable: {503, 200, NetworkError},
	UploadFull:        {507, 200, UserError},
	UploadFailed:      {500, 200, NetworkError},
}

// Fault is an error as a client is told it. Its message says what is wrong and
// what to do, and holds no path, secret or whole token; its cause is for the
// log alone.
type Fault struct {
	Code    Code
	Message string
	Retry   time.Duration // for Retry-After, rounded up to seconds; 0: no header
	Allow   string        // for Allow, with MethodNotAllowed
	Cause   error
}

// Faultf makes a Fault whose message is formatted.
func Faultf(code Code, format string, args ...any) *Fault {
	return &Fault{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Because returns a copy of the fault with its cause.
func (f *Fault) Because(err error) *Fault {
	g := *f
	g.Cause = err
	return &g
}

// Error is the message with its cause, for the log.
func (f *Fault) Error() string {
	if f.Cause != nil {
		return f.Message + ": " + f.Cause.Error()
	}
	return f.Message
}

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Cause }

// Status is the HTTP status of a failure, in the modern way or as OOSE 2.x
// gave it.
func (c Code) Status(compat bool) int {
	row, ok := statuses[c]
	if !ok {
		return http.StatusInternalServerError
	}
	if compat {
		return row.compat
	}
	return row.modern
}

// Reason classifies the failure.
func (c Code) Reason() Reason { return statuses[c].reason }

// AsFault returns err as a Fault; one that is none becomes Internal, with err
// as its cause and nothing of it in the message.
func AsFault(err error) *Fault {
	var f *Fault
	if errors.As(err, &f) {
		return f
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return Faultf(TooLarge, "The body is larger than %d bytes", tooLarge.Limit).Because(err)
	}
	return Faultf(Internal, "An internal error occurred; the server's log has the cause").Because(err)
}
