package repair

import (
	"hash/fnv"

	"github.com/ooseio/oose/content"
)

// rank is how high a store stands for a hash (rendezvous hashing): the same at
// every node, another order for every hash, and not changed by who else is
// there. The digests of contents alone would do for the hash, but not for ids,
// of which neighbours differ in a digit or two: hence the mixing.
func rank(h content.Hash, store string) uint64 {
	sum := fnv.New64a()
	sum.Write(h.Sum())
	sum.Write([]byte(store))
	x := sum.Sum64()
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
