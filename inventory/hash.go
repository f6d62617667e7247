package inventory

import (
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"

	"github.com/pjbgf/sha1cd"

	"github.com/ooseio/oose/content"
)

// NewHash returns a new digest of a type. SHA-1 is computed with detection of
// collision attacks, which SumOf reports. It panics for no type: types come
// from content.ParseType or a content.Hash.
func NewHash(t content.Type) hash.Hash {
	switch t {
	case content.MD5:
		return md5.New()
	case content.SHA1:
		return sha1cd.New()
	case content.SHA224:
		return sha256.New224()
	case content.SHA256:
		return sha256.New()
	case content.SHA384:
		return sha512.New384()
	case content.SHA512:
		return sha512.New()
	}
	panic(fmt.Sprintf("inventory: no digest of type %d", t))
}

// SumOf returns the hash that a digest made by NewHash has come to. Its error
// is ErrCollision where what was written was made for a collision attack.
func SumOf(t content.Type, h hash.Hash) (content.Hash, error) {
	if d, ok := h.(sha1cd.CollisionResistantHash); ok {
		sum, attacked := d.CollisionResistantSum(nil)
		if attacked {
			return content.Hash{}, ErrCollision
		}
		return content.HashOf(t, sum)
	}
	return content.HashOf(t, h.Sum(nil))
}
