package account

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// ErrInvalidHash says that a text is no bcrypt hash.
var ErrInvalidHash = errors.New("invalid bcrypt hash")

// CheckHash returns an error where a text is no bcrypt hash, as `oose
// hash-password` makes them. Its error is ErrInvalidHash.
func CheckHash(hash string) error {
	if _, err := bcrypt.Cost([]byte(hash)); err != nil || len(hash) != hashLen {
		return fmt.Errorf("%w: make one with hash-password", ErrInvalidHash)
	}
	return nil
}

// hashLen is the length of a bcrypt hash in its text form.
const hashLen = 60

// Basic is one user name and password, for HTTP basic auth. Its methods can be
// called at the same time.
type Basic struct {
	user  [sha256.Size]byte // of the name, so that names of any length compare in the same time
	name  string
	hash  string
	guard *guard
}

// NewBasic returns the check of a user name and the bcrypt hash of a password.
// Its error is ErrInvalidHash.
func NewBasic(user, bcryptHash string) (*Basic, error) {
	if err := CheckHash(bcryptHash); err != nil {
		return nil, fmt.Errorf("basic auth of user %.80q: %w", user, err)
	}
	return &Basic{user: sha256.Sum256([]byte(user)), name: user, hash: bcryptHash, guard: newGuard(time.Now)}, nil
}

// User returns the user name.
func (b *Basic) User() string { return b.name }

// Check tells whether a request's user name and password are the right ones.
// A wrong name costs the same as a wrong password. Errors: ErrBadLogin,
// ErrTooMany, the context's.
func (b *Basic) Check(ctx context.Context, user, password string, client netip.Addr) error {
	got := sha256.Sum256([]byte(user))
	right := subtle.ConstantTimeCompare(got[:], b.user[:]) == 1
	hash := b.hash
	if !right {
		hash = dummyOf(b.hash)
	}
	err := b.guard.check(ctx, user, hash, password, client)
	if err == nil && !right {
		return ErrBadLogin
	}
	return err
}
