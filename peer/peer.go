// Package peer is the vocabulary of who takes part in a cluster: the kinds of
// peers and their names. It depends on the standard library alone, and
// everyone may import it.
package peer

import (
	"errors"
	"fmt"
	"strings"
)

// ErrInvalidName says that a text is not the name of a peer.
var ErrInvalidName = errors.New("invalid peer name")

// Kind tells what a peer does.
type Kind string

// The kinds of peers, as the registry lists them.
const (
	Prism Kind = "prism"
	Store Kind = "store"
)

// maxLabel is the longest label of a host name in bytes (RFC 1035, 2.3.4).
const maxLabel = 63

// CheckName returns an error where a name can't stand as the first label of
// `<name>.<domain>`: 1 to 63 lower-case letters, digits and inner hyphens
// (RFC 1123, 2.1).
func CheckName(name string) error {
	if name == "" || len(name) > maxLabel || name[0] == '-' || name[len(name)-1] == '-' {
		return fmt.Errorf("%w: %.80q, use 1 to 63 lower-case letters, digits and inner hyphens", ErrInvalidName, name)
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("%w: %.80q, use 1 to 63 lower-case letters, digits and inner hyphens", ErrInvalidName, name)
		}
	}
	return nil
}

// Name is how the registry calls a peer: `prism1`, or `prism1:store1` for a
// store and the prism it belongs to.
type Name struct {
	Prism string
	Store string // "" for a prism
}

// ParseName reads `prism1` or `prism1:store1`. Its error is ErrInvalidName.
func ParseName(s string) (Name, error) {
	prism, store, isStore := strings.Cut(s, ":")
	if err := CheckName(prism); err != nil {
		return Name{}, err
	}
	if isStore {
		if err := CheckName(store); err != nil {
			return Name{}, err
		}
	}
	return Name{Prism: prism, Store: store}, nil
}

// Kind tells whether the name is that of a prism or of a store.
func (n Name) Kind() Kind {
	if n.Store != "" {
		return Store
	}
	return Prism
}

// Label is the first label of the peer's host name `<label>.<domain>`.
func (n Name) Label() string {
	if n.Store != "" {
		return n.Store
	}
	return n.Prism
}

// String returns the name as ParseName reads it.
func (n Name) String() string {
	if n.Store == "" {
		return n.Prism
	}
	return n.Prism + ":" + n.Store
}

// MarshalText gives what String does.
func (n Name) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText reads what MarshalText gives. Its error is ErrInvalidName.
func (n *Name) UnmarshalText(b []byte) error {
	parsed, err := ParseName(string(b))
	if err != nil {
		return err
	}
	*n = parsed
	return nil
}
