package prism

import (
	"context"
	"errors"
	"strings"

	"github.com/ooseio/oose/account"
	"github.com/ooseio/oose/handlers"
	"github.com/ooseio/oose/handlers/upload"
	"github.com/ooseio/oose/purchase"
	"github.com/ooseio/oose/record"
)

// fault returns what a client is told about an error.
func fault(err error) *handlers.Fault {
	var f *handlers.Fault
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, account.ErrNoSession):
		return handlers.Faultf(handlers.Unauthenticated, "The session is not valid; log in again").Because(err)
	case errors.Is(err, account.ErrBadLogin):
		return handlers.Faultf(handlers.BadLogin, "Invalid username or password").Because(err)
	case errors.Is(err, account.ErrTooMany):
		f := handlers.Faultf(handlers.TooMany, "Too many wrong passwords from this address; try again later").Because(err)
		f.Retry = account.RetryAfter(err)
		return f
	case errors.Is(err, account.ErrDeclared):
		return handlers.Faultf(handlers.Declared, "This is declared by the configuration and can't be changed here").Because(err)
	case errors.Is(err, purchase.ErrUnknown):
		return handlers.Faultf(handlers.PurchaseUnknown, "Purchase not found").Because(err)
	case errors.Is(err, purchase.ErrInvalidToken):
		return handlers.Faultf(handlers.InvalidToken, "Could not validate purchase token").Because(err)
	case errors.Is(err, record.ErrConflict):
		return handlers.Faultf(handlers.Unavailable, "This is being changed by others; try again").Because(err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return handlers.Faultf(handlers.Unavailable, "The answer took too long; try again").Because(err)
	}
	for _, invalid := range []error{
		purchase.ErrInvalidReferrer, purchase.ErrInvalidAddress, purchase.ErrInvalidLife,
		purchase.ErrInvalidCount, purchase.ErrInvalidContent,
		account.ErrInvalidData, account.ErrUnknownUser,
	} {
		if errors.Is(err, invalid) {
			return handlers.Faultf(handlers.Malformed, "%s", from(err.Error(), invalid.Error())).Because(err)
		}
	}
	return upload.Fault(err)
}

// from cuts what an error's text has before the part that a client is told.
func from(text, part string) string {
	if i := strings.Index(text, part); i > 0 {
		text = text[i:]
	}
	return strings.ToUpper(text[:1]) + text[1:]
}
