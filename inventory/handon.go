package inventory

import (
	"sync"

	"github.com/ooseio/oose/content"
)

// handing is of which contents a volume wants to hand its promises on.
type handing struct {
	mu  sync.Mutex
	all map[content.Hash]int // by how many callers
}

// HandOn lets Surrender drop a clone that is promised to be kept: on the
// operator's word, who moves it. As many others as are wanted promise that in its
// place, and for longer, so that whoever counts on the promise loses nothing.
// From now on until end is called, every promise of that clone changes its record,
// also one that is given already: by that Surrender sees whether another store has
// begun to count on it meanwhile. The caller reads the clone after this.
func (v *Volume) HandOn(h content.Hash) (end func()) {
	s := &v.handing
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = make(map[content.Hash]int)
	}
	s.all[h]++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.all[h]--; s.all[h] == 0 {
			delete(s.all, h)
		}
	})
}

func (v *Volume) handsOn(h content.Hash) bool {
	v.handing.mu.Lock()
	defer v.handing.mu.Unlock()
	return v.handing.all[h] > 0
}
