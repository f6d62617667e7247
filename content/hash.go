// Package content is the vocabulary of what is kept: the hash of a content,
// the type of its digest, its extension and its media type. It depends on the
// standard library alone, and everyone may import it.
package content

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// ErrInvalidHash says that a text is no hash: of a length that no digest type
// has, or with characters other than hex digits.
var ErrInvalidHash = errors.New("invalid hash")

// ErrUnknownType says that no digest type has the name that was given.
var ErrUnknownType = errors.New("unknown hash type")

// Type is a kind of digest. The zero Type is no type.
type Type uint8

// The digest types, which the length of a hash tells apart.
const (
	MD5 Type = iota + 1
	SHA1
	SHA224
	SHA256
	SHA384
	SHA512
)

// types holds name and digest length in bytes, by Type.
var types = [...]struct {
	name string
	size int
}{MD5: {"md5", 16}, SHA1: {"sha1", 20}, SHA224: {"sha224", 28}, SHA256: {"sha256", 32}, SHA384: {"sha384", 48}, SHA512: {"sha512", 64}}

// Types returns every digest type, the shortest digest first.
func Types() []Type { return []Type{MD5, SHA1, SHA224, SHA256, SHA384, SHA512} }

// ParseType returns the digest type of that name ("sha1"); upper case is
// accepted. Its error is ErrUnknownType.
func ParseType(name string) (Type, error) {
	for _, t := range Types() {
		if strings.EqualFold(name, types[t].name) {
			return t, nil
		}
	}
	return 0, fmt.Errorf("%w: %.32q, use one of md5, sha1, sha224, sha256, sha384, sha512", ErrUnknownType, name)
}

// String returns the type's name in lower case, "" for no type.
func (t Type) String() string {
	if int(t) >= len(types) {
		return ""
	}
	return types[t].name
}

// Size returns the length of the type's digests in bytes, 0 for no type.
func (t Type) Size() int {
	if int(t) >= len(types) {
		return 0
	}
	return types[t].size
}

// Hash is the digest of a content and so its name. It is comparable and can be
// the key of a map. The zero Hash is no hash.
type Hash struct {
	typ Type
	sum [64]byte
}

// ParseHash reads a hash from its hex digits, in either case. Its error is
// ErrInvalidHash.
func ParseHash(s string) (Hash, error) {
	var h Hash
	for _, t := range Types() {
		if len(s) == 2*types[t].size {
			h.typ = t
		}
	}
	if h.typ == 0 {
		return Hash{}, fmt.Errorf("%w: %d characters, where md5 has 32, sha1 40, sha224 56, sha256 64, sha384 96, sha512 128", ErrInvalidHash, len(s))
	}
	if _, err := hex.Decode(h.sum[:], []byte(s)); err != nil {
		return Hash{}, fmt.Errorf("%w: has characters other than hex digits", ErrInvalidHash)
	}
	return h, nil
}

// HashOf makes a Hash of a finished digest. It returns ErrInvalidHash where
// the digest's length is not that of the type.
func HashOf(t Type, digest []byte) (Hash, error) {
	if t.Size() == 0 || len(digest) != t.Size() {
		return Hash{}, fmt.Errorf("%w: a %s digest of %d bytes", ErrInvalidHash, t, len(digest))
	}
	h := Hash{typ: t}
	copy(h.sum[:], digest)
	return h, nil
}

// Type returns the type of digest this hash is.
func (h Hash) Type() Type { return h.typ }

// IsZero tells whether h is no hash.
func (h Hash) IsZero() bool { return h.typ == 0 }

// Sum returns a copy of the digest's bytes.
func (h Hash) Sum() []byte { return append([]byte(nil), h.sum[:h.typ.Size()]...) }

// String returns the hash in lower-case hex digits, "" for no hash.
func (h Hash) String() string { return hex.EncodeToString(h.sum[:h.typ.Size()]) }

// AppendTo appends the lower-case hex digits of h to b.
func (h Hash) AppendTo(b []byte) []byte { return hex.AppendEncode(b, h.sum[:h.typ.Size()]) }

// MarshalText gives the hash as String does.
func (h Hash) MarshalText() ([]byte, error) { return h.AppendTo(nil), nil }

// UnmarshalText reads what MarshalText gives; an empty text is no hash.
func (h *Hash) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*h = Hash{}
		return nil
	}
	v, err := ParseHash(string(b))
	if err == nil {
		*h = v
	}
	return err
}
