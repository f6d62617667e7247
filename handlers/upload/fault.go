package upload

import (
	"errors"
	"net/http"

	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/record"
)

// Fault returns what a client is told about an error of Upload.
func Fault(err error) *handlers.Fault {
	var (
		fault *handlers.Fault
		body  *BodyError
		bound *http.MaxBytesError
	)
	switch {
	case errors.As(err, &fault):
		return fault
	case errors.Is(err, ErrTooLarge), errors.As(err, &bound):
		return handlers.Faultf(handlers.TooLarge, "The content is larger than is allowed here").Because(err)
	case errors.As(err, &body):
		return handlers.Faultf(handlers.Malformed, "The body ended before it was complete; nothing of it was kept").Because(err)
	case errors.Is(err, inventory.ErrMismatch):
		return handlers.Faultf(handlers.Mismatch, "The bytes are not those of the hash; nothing of them was kept").Because(err)
	case errors.Is(err, inventory.ErrCollision):
		return handlers.Faultf(handlers.Collision, "The content was made for a collision attack on SHA-1 and is refused; use another hashType").Because(err)
	case errors.Is(err, inventory.ErrBlocked):
		return handlers.Faultf(handlers.Blocked, "This content is blocked").Because(err)
	case errors.Is(err, inventory.ErrFull):
		return handlers.Faultf(handlers.DiskFull, "No store has room for the content").Because(err)
	case isAway(err):
		return handlers.Faultf(handlers.Unavailable, "No store can take the content now; try again later").Because(err)
	}
	return handlers.AsFault(err)
}

func isAway(err error) bool {
	for _, away := range []error{
		ErrNoStore, ErrStalled, ErrClosed, record.ErrUnavailable,
		inventory.ErrOffline, inventory.ErrReadOnly, inventory.ErrSuspect,
	} {
		if errors.Is(err, away) {
			return true
		}
	}
	return false
}
