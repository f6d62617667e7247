package clones

import (
	"context"
	"fmt"
	"hash"
	"io"
	"sync"
	"time"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/inventory"
)

// maxUploads is how many uploads of other nodes a server has at once. Each has
// an open file.
const maxUploads = 1000

// patience is how long an upload may go on without a sign of its client.
type patience struct {
	silent  time.Duration // without a byte
	waiting time.Duration // without a verdict, its bytes being whole
	sweep   time.Duration // between two looks
}

func defaultPatience() patience {
	return patience{silent: 75 * time.Second, waiting: 10 * time.Minute, sweep: 5 * time.Second}
}

// uploads are those that a server has. A goroutine looks after them while there
// are any.
type uploads struct {
	tune patience

	mu     sync.Mutex
	all    map[string]*incoming
	closed chan struct{}
	swept  chan struct{} // ends with the goroutine, nil where none runs
}

func (s *uploads) init(p patience) {
	s.tune, s.all, s.closed = p, make(map[string]*incoming), make(chan struct{})
}

func (s *uploads) add(id string, u *incoming) error {
	u.touch()
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
		return inventory.ErrOffline
	default:
	}
	switch {
	case len(s.all) >= maxUploads:
		return errBusy
	case s.all[id] != nil:
		return fmt.Errorf("%w: the upload has begun already", errMalformed)
	}
	s.all[id] = u
	if s.swept == nil {
		s.swept = make(chan struct{})
		go s.lookAfter(s.swept)
	}
	return nil
}

// get returns an upload, nil where there is none.
func (s *uploads) get(id string) *incoming {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[id]
}

// take returns an upload that is no more among the others, nil where there is none.
func (s *uploads) take(id string) *incoming {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.all[id]
	delete(s.all, id)
	return u
}

// lookAfter ends the uploads whose clients do not come back, until there are none.
func (s *uploads) lookAfter(swept chan struct{}) {
	defer close(swept)
	ticker := time.NewTicker(s.tune.sweep)
	defer ticker.Stop()
	for {
		select {
		case <-s.closed:
			return
		case <-ticker.C:
		}
		for _, u := range s.forgotten(time.Now()) {
			u.abort()
		}
		if s.rest() {
			return
		}
	}
}

// forgotten takes the uploads of which nothing was heard for too long.
func (s *uploads) forgotten(now time.Time) (list []*incoming) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, u := range s.all {
		if u.isForgotten(now, s.tune) {
			delete(s.all, id)
			list = append(list, u)
		}
	}
	return list
}

// rest tells whether there is nothing to look after, and that nobody does from now on.
func (s *uploads) rest() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) > 0 {
		return false
	}
	s.swept = nil
	return true
}

func (s *uploads) close(ctx context.Context) error {
	s.mu.Lock()
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
	all, swept := s.all, s.swept
	s.all = make(map[string]*incoming)
	s.mu.Unlock()
	for _, u := range all {
		u.abort()
	}
	if swept == nil {
		return nil
	}
	select {
	case <-swept:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for uploads of other nodes: %w", context.Cause(ctx))
	}
}

// of takes the uploads to one store.
func (s *uploads) of(store string) (list []*incoming) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, u := range s.all {
		if u.store == store {
			delete(s.all, id)
			list = append(list, u)
		}
	}
	return list
}

// The states of an upload.
type state uint8

const (
	beginning  state = iota // its file is being made
	ready                   // waits for its bytes
	taking                  // they come
	waiting                 // all of them are there, for a verdict
	committing              // has one
	over
)

// incoming is one upload. A nil one is over.
type incoming struct {
	store  string // its id
	size   int64  // announced, -1: not known
	typ    content.Type
	digest hash.Hash // of what came; its one user is the request that brings the bytes
	got    int64     // bytes, likewise

	mu    sync.Mutex
	state state
	temp  *inventory.Temp // nil while beginning
	hash  content.Hash    // of all that came, while waiting
	moved time.Time       // when something was heard of it
	cut   func()          // ends the reading of its bytes; nil while nobody reads
}

func (u *incoming) touch() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.moved = time.Now()
}

func (u *incoming) isForgotten(now time.Time, p patience) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch u.state {
	case ready, taking:
		return now.Sub(u.moved) >= p.silent
	case waiting:
		return now.Sub(u.moved) >= p.waiting
	}
	return false
}

// step moves from one state to the next, and reports false where it is in another.
func (u *incoming) step(from, to state, also func()) bool {
	if u == nil {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.state != from {
		return false
	}
	u.state, u.moved = to, time.Now()
	if also != nil {
		also()
	}
	return true
}

func (u *incoming) start(temp *inventory.Temp) bool {
	return u.step(beginning, ready, func() { u.temp = temp })
}

// receiving says that its bytes come from now on; cut ends the reading of them.
func (u *incoming) receiving(cut func()) bool {
	return u.step(ready, taking, func() { u.cut = cut })
}

// received says that nobody reads its bytes any more.
func (u *incoming) received() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.cut = nil
}

func (u *incoming) write(p []byte) error {
	u.touch()
	u.digest.Write(p)
	if u.got += int64(len(p)); u.size >= 0 && u.got > u.size {
		return fmt.Errorf("%w: more bytes than announced", errMalformed)
	}
	if _, err := u.temp.Write(p); err != nil {
		return err
	}
	u.touch()
	return nil
}

// whole says that all its bytes were written.
func (u *incoming) whole() (wholeMessage, error) {
	if u.size >= 0 && u.got != u.size {
		return wholeMessage{}, fmt.Errorf("%w: %d bytes came, %d were announced", io.ErrUnexpectedEOF, u.got, u.size)
	}
	h, err := inventory.SumOf(u.typ, u.digest)
	if err != nil {
		return wholeMessage{}, err
	}
	if !u.step(taking, waiting, func() { u.hash = h }) {
		return wholeMessage{}, errNoUpload
	}
	return wholeMessage{Hash: h.String(), Size: u.got}, nil
}

// committing returns what is to be kept under a hash: the digest of what came.
func (u *incoming) committing(h content.Hash) (*inventory.Temp, error) {
	if u == nil {
		return nil, errNoUpload
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.state != waiting:
		return nil, errNoUpload
	case u.hash != h:
		return nil, fmt.Errorf("%w: the digest of what came is %s", inventory.ErrMismatch, u.hash)
	}
	u.state = committing
	return u.temp, nil
}

// abort takes all of it back, unless it is being committed.
func (u *incoming) abort() {
	if u == nil {
		return
	}
	u.mu.Lock()
	temp, cut := u.temp, u.cut
	stop := u.state != committing && u.state != over
	if stop {
		u.state = over
		if cut != nil {
			cut()
		}
	}
	u.mu.Unlock()
	if stop && temp != nil {
		temp.Abort()
	}
}
