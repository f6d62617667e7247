package journal

import "hash/maphash"

// filter remembers keys roughly, in little memory: what it has not seen is
// certainly new, what it has seen may be. It grows with what it sees.
type filter struct {
	seed  maphash.Seed
	parts [][]uint64 // each four times as large as the one before
	room  int        // of the last part, in keys
}

// Bounds of a filter's parts, in bits, and how many of these a key gets.
const (
	minFilter     = 1 << 14
	maxFilter     = 1 << 26
	bitsOfKey     = 16
	probesOfKey   = 4
	filterGrowths = 4
)

// first tells whether a key certainly comes for the first time.
func (f *filter) first(key []byte) bool {
	if f.room == 0 {
		f.grow()
	}
	h := maphash.Bytes(f.seed, key)
	for _, part := range f.parts[:len(f.parts)-1] {
		if probe(part, h, false) {
			return false
		}
	}
	if probe(f.parts[len(f.parts)-1], h, true) {
		return false
	}
	f.room--
	return true
}

func (f *filter) grow() {
	size := minFilter
	switch n := len(f.parts); {
	case n == 0:
		f.seed = maphash.MakeSeed()
	default:
		size = 64 * len(f.parts[n-1])
		if size == maxFilter { // from here on it only gets less certain
			f.room = 1 << 62
			return
		}
		size *= filterGrowths
	}
	f.parts = append(f.parts, make([]uint64, size/64))
	f.room = size / bitsOfKey
}

// probe tells whether a part has seen a hash, and has it see it.
func probe(part []uint64, h uint64, set bool) (seen bool) {
	seen = true
	step := h>>32 | 1
	for range probesOfKey {
		at := h % (64 * uint64(len(part)))
		if bit := uint64(1) << (at % 64); part[at/64]&bit == 0 {
			if seen = false; !set {
				return false
			}
			part[at/64] |= bit
		}
		h += step
	}
	return seen
}
