package swarm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

const (
	bookVersion = 1
	maxBook     = 1 << 20          // bytes
	saveEvery   = 5 * time.Second  // at most
	saveAnyway  = 10 * time.Minute // for the times of the last contact
)

// book is what the file keeps.
type book struct {
	Version   int     `json:"version"`
	Complete  string  `json:"complete,omitempty"` // the journal's source when it had all that another node knew
	Addresses []entry `json:"addresses"`
}

// entry is a node once seen.
type entry struct {
	Address string    `json:"address"`
	Node    string    `json:"node,omitempty"`
	Name    string    `json:"name,omitempty"`
	Contact time.Time `json:"contact"` // the last one
}

var errBook = errors.New("it was written by another version, or is damaged")

// readBook reads the file; a missing one is empty.
func readBook(name string) (book, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return book{}, nil
	}
	if err != nil {
		return book{}, err
	}
	defer f.Close()
	return parseBook(f)
}

// parseBook reads what save wrote, and leaves out what can't be used.
func parseBook(r io.Reader) (book, error) {
	var b book
	if err := readJSON(r, maxBook, &b); err != nil {
		return book{}, errBook
	}
	if b.Version != bookVersion {
		return book{}, errBook
	}
	b.Addresses = slices.DeleteFunc(b.Addresses, func(e entry) bool {
		a, err := parseAddress(e.Address)
		return err != nil || a != e.Address || !plain(e.Name) || e.Node != "" && !idText(e.Node)
	})
	b.Addresses = b.Addresses[:min(len(b.Addresses), maxLinks)]
	return b, nil
}

// save writes the file so that a crash leaves the old one or the new one.
func (b book) save(name string) error {
	content, err := json.MarshalIndent(b, "", "\t")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*.tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(append(content, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// recall begins with what the file kept.
func (s *Swarm) recall() {
	if s.opts.File == "" {
		return
	}
	b, err := readBook(s.opts.File)
	if err != nil {
		s.log.Warn("the file of known nodes can't be used, it is begun anew", zap.String("file", s.opts.File), zap.Error(err))
	}
	source := s.j.Source()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readiness.complete = b.Complete == source
	for _, e := range b.Addresses {
		if time.Since(e.Contact) > forgetSeen {
			continue
		}
		if l := s.know(e.Address, ""); l != nil {
			l.contact, l.peer = e.Contact, hello{ID: e.Node, Name: e.Name}
		}
	}
}

// keep is the goroutine that writes the file.
func (s *Swarm) keep(ctx context.Context) {
	saved := time.Now()
	for {
		select {
		case <-ctx.Done():
			s.save(true)
			return
		case <-s.saving:
		case <-time.After(saveEvery):
		}
		anyway := time.Since(saved) > saveAnyway
		if s.save(anyway) {
			saved = time.Now()
		}
	}
}

// save writes the file if there is something new, or anyway.
func (s *Swarm) save(anyway bool) bool {
	source := s.j.Source()
	s.mu.Lock()
	if s.opts.File == "" || !s.changed && !anyway {
		s.mu.Unlock()
		return false
	}
	s.changed = false
	b := book{Version: bookVersion}
	if s.readiness.complete {
		b.Complete = source
	}
	for _, l := range s.links {
		if !l.contact.IsZero() && l.state != Purgatory {
			b.Addresses = append(b.Addresses, entry{l.address, l.peer.ID, l.peer.Name, l.contact.Round(0)})
		}
	}
	s.mu.Unlock()
	slices.SortFunc(b.Addresses, func(a, b entry) int { return strings.Compare(a.Address, b.Address) })
	if err := b.save(s.opts.File); err != nil {
		s.log.Warn("the file of known nodes can't be written", zap.Error(fmt.Errorf("writing %s: %w", s.opts.File, err)))
		s.mu.Lock()
		s.changed = true
		s.mu.Unlock()
		return false
	}
	return true
}
