package handlers

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/ooseio/oose/account"
)

// maxCredentials bounds the credentials of one request, in bytes.
const maxCredentials = 1024

// BasicCredentials reads the credentials of HTTP basic auth (RFC 7617). ok is
// false where the request has no Authorization header; a header that is
// something else gives a Fault.
func BasicCredentials(r *http.Request) (user, password string, ok bool, err error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return "", "", false, nil
	}
	scheme, encoded, found := strings.Cut(header, " ")
	if !found || !strings.EqualFold(scheme, "basic") || len(encoded) > maxCredentials {
		return "", "", false, Faultf(Malformed, "The Authorization header is not understood: use HTTP basic auth")
	}
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil {
		return "", "", false, Faultf(Malformed, "The Authorization header is not valid base64").Because(err)
	}
	user, password, found = strings.Cut(string(decoded), ":")
	if !found {
		return "", "", false, Faultf(Malformed, "The Authorization header has no colon between user and password")
	}
	return user, password, true, nil
}

// CheckBasic tells whether the request has the credentials of a role. It is
// false where basic is nil: a role without credentials lets nobody in. Its
// errors are Faults: a header that is not understood, too many wrong ones.
func CheckBasic(r *http.Request, basic *account.Basic, client netip.Addr) (bool, error) {
	user, password, ok, err := BasicCredentials(r)
	if err != nil || !ok || basic == nil {
		return false, err
	}
	switch err := basic.Check(r.Context(), user, password, client); {
	case err == nil:
		return true, nil
	case errors.Is(err, account.ErrBadLogin):
		return false, nil
	case errors.Is(err, account.ErrTooMany):
		f := Faultf(TooMany, "Too many wrong passwords from this address; try again later").Because(err)
		f.Retry = account.RetryAfter(err)
		return false, f
	default:
		return false, Faultf(Unavailable, "The credentials could not be checked now; try again").Because(err)
	}
}

// ClientAddr returns the address of a request's own connection, for roles that
// were not told how to find a better one.
func ClientAddr(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// WriteUnauthorized answers a caller who sent neither a token nor credentials
// that hold: 401, as text, with the challenge that makes browsers ask.
func WriteUnauthorized(w http.ResponseWriter, r *http.Request) error {
	const body = "Unauthorized"
	h := w.Header()
	h.Set("WWW-Authenticate", `Basic realm="Authorization Required"`)
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusUnauthorized)
	if r.Method == http.MethodHead {
		return nil
	}
	_, err := w.Write([]byte(body))
	return err
}
