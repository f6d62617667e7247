package vote

// maxOpen is how many probes of one node may be under way.
const maxOpen = 64

// Series judges the probes of one node in the order in which they were started,
// in whatever order they end: what counts is how many of the latest have failed
// in a row. The zero Series has had no probe.
type Series struct {
	from   uint64 // the first probe that is not judged yet
	next   uint64 // the next one to start
	failed uint64 // one bit for each from there on
	run    int    // failures in a row before from
}

// Start returns the number of a probe that is started now, and false where too
// many are under way.
func (s *Series) Start() (n uint64, ok bool) {
	if s.next-s.from >= maxOpen {
		return 0, false
	}
	s.next++
	return s.next - 1, true
}

// Good says that a probe was answered as it should. What was started before it
// says nothing any more.
func (s *Series) Good(n uint64) {
	if n < s.from || n >= s.next {
		return
	}
	s.failed >>= n - s.from + 1
	s.from, s.run = n+1, 0
	s.fold()
}

// Bad says that a probe was not answered as it should, or not in time.
func (s *Series) Bad(n uint64) {
	if n < s.from || n >= s.next {
		return
	}
	s.failed |= 1 << (n - s.from)
	s.fold()
}

// fold judges what has nothing open before it.
func (s *Series) fold() {
	for s.failed&1 != 0 {
		s.failed >>= 1
		s.from++
		s.run++
	}
}

// Failures returns how many probes in a row, up to the last that is judged,
// have failed.
func (s *Series) Failures() int { return s.run }

// Forgive has the probes that are under way say nothing: this node stood still
// meanwhile, and could not hear the answers.
func (s *Series) Forgive() { s.from, s.failed = s.next, 0 }

// Reset begins anew, as with another node; probes under way say nothing.
func (s *Series) Reset() {
	s.Forgive()
	s.run = 0
}
