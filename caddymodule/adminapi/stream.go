package adminapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/ooseio/oose/inventory"
)

// progressEvery is the least time between two lines of progress.
const progressEvery = 200 * time.Millisecond

// lineStream answers with lines of JSON (NDJSON): progress, then the result or an
// error. Nothing is written before the first line, so that an error that comes
// at once has its own status.
type lineStream struct {
	w http.ResponseWriter

	mu    sync.Mutex // progress may be told from several goroutines
	begun bool
	last  time.Time
	err   error // of writing

	warned string // what was warned of last
}

// progress tells how far a store is, not more often than progressEvery.
func (s *lineStream) progress(store string) func(inventory.ScanProgress) {
	return func(p inventory.ScanProgress) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if now := time.Now(); now.Sub(s.last) >= progressEvery {
			s.last = now
			s.write(StreamLine{Progress: &ProgressLine{Store: store, ScanProgress: p}})
		}
	}
}

// warn tells of something that does not stop the work, each time the same once.
func (s *lineStream) warn(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.warned != text {
		s.warned = text
		s.write(StreamLine{Warning: text})
	}
}

// write sends one line at once. The caller holds mu.
func (s *lineStream) write(line StreamLine) {
	if s.err != nil {
		return // the client is gone, and with it the request's context
	}
	if !s.begun {
		s.begun = true
		h := s.w.Header()
		h.Set("Content-Type", "application/x-ndjson")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
	}
	if s.err = json.NewEncoder(s.w).Encode(line); s.err == nil {
		s.err = http.NewResponseController(s.w).Flush()
	}
}

// streamed runs work and answers with what it returns.
func (c *call) streamed(work func(*lineStream) (any, error)) error {
	s := &lineStream{w: c.w}
	c.stream = s
	result, err := work(s)
	s.mu.Lock()
	defer s.mu.Unlock()
	var line StreamLine
	if err == nil {
		line.Result, err = json.Marshal(result)
	}
	if err != nil {
		if !s.begun {
			return err
		}
		fault := asFault(err)
		c.log.Warn("admin request failed", zap.String("path", c.r.URL.Path), zap.Error(err))
		line = StreamLine{Error: fault.Message}
	}
	s.write(line)
	if s.err != nil && c.r.Context().Err() == nil && !errors.Is(s.err, http.ErrNotSupported) {
		return s.err
	}
	return nil
}
