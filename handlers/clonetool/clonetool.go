// Package clonetool does by an operator's word what repair does by itself: it
// picks contents by how many clones they have, where those are or by name, and
// reaches a number of clones, copies them to a store, drops them from one, or
// reads them anew.
//
// What it promises:
//   - A clone is dropped only by its own store, after as many others as are
//     wanted have promised to stay: never the last one, whatever is asked for.
//   - What it changes stays: where an operator wants more or fewer clones than
//     the settings do, that is written down, so that repair does not undo it.
//   - One content that fails keeps no other from being done.
//   - It can be broken off at any time, and repeated.
package clonetool

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/handlers/repair"
	"github.com/ooseio/oose/inventory"
	plan "github.com/ooseio/oose/inventory/repair"
)

// ErrRequest says that a request asks for something that can't be.
var ErrRequest = errors.New("this can't be done")

// Index answers what contents there are. *inventory.Index is one.
type Index interface {
	All(ctx context.Context, prefix string, after content.Hash) iter.Seq2[content.Hash, error]
	List(ctx context.Context, store string, after content.Hash) iter.Seq2[inventory.Clone, error]
	Want(ctx context.Context, h content.Hash, copies int) error
}

// Agent does what is to be done. *repair.Agent is one.
type Agent interface {
	Content(ctx context.Context, h content.Hash) (repair.Content, error)
	Copy(ctx context.Context, h content.Hash, to string, progress func(done int64)) (inventory.Clone, error)
	Drop(ctx context.Context, h content.Hash, store string, wanted int) error
	Verify(ctx context.Context, h content.Hash, store string, force bool) (inventory.Verification, error)
	Standing(store string) (plan.Store, bool)
}

// Selection says which contents are meant: those that fit all of it.
type Selection struct {
	All    bool           // everything there is, where nothing else is said
	Hashes []content.Hash // these alone
	Stores []string       // ids: those that have a clone in one of these
	Folder string         // those whose hash begins with this
	Above  *int           // those with more clones that count
	At     *int           // those with exactly so many
	Below  *int           // those with fewer
}

// Empty tells whether nothing was said.
func (s *Selection) Empty() bool {
	return !s.All && len(s.Hashes) == 0 && len(s.Stores) == 0 && s.Folder == "" && s.Above == nil && s.At == nil && s.Below == nil
}

// fits tells whether a content with so many clones is meant.
func (s *Selection) fits(count int) bool {
	return (s.Above == nil || count > *s.Above) && (s.At == nil || count == *s.At) && (s.Below == nil || count < *s.Below)
}

// ParseFolder reads the beginning of hashes, as it is or as the folders of a
// store have it: `ab`, `ab/cd`, `content/ab/cd/`.
func ParseFolder(text string) (string, error) {
	digits := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(strings.Trim(text, "/"), "content/"), "/", ""))
	if digits == "" || len(digits) > 128 || strings.Trim(digits, "0123456789abcdef") != "" {
		return "", fmt.Errorf("%w: %.40q is not the beginning of a hash, write it like ab or ab/cd", ErrRequest, text)
	}
	return digits, nil
}

// Action says what is done about each content; what is zero is not done.
type Action struct {
	Desired  int    // as many clones as there are to be
	CloneTo  string // id of a store that is to have one
	DropFrom string // id of a store that is to have none
	Verify   bool   // read every clone that was not verified lately
	Pretend  bool   // only tell
	Force    bool   // verify: every clone; drop: also where fewer remain than are wanted

	Keep       map[content.Hash]bool // nothing is dropped of these
	KeepStores map[string]bool       // nothing is dropped from these
}

// Acts tells whether something is to be done.
func (a *Action) Acts() bool {
	return a.Desired > 0 || a.CloneTo != "" || a.DropFrom != "" || a.Verify
}

func (a *Action) check() error {
	switch {
	case a.Desired < 0 || a.Desired > inventory.MaxWant:
		return fmt.Errorf("%w: there can be 1 to %d clones of a content", ErrRequest, inventory.MaxWant)
	case a.CloneTo != "" && a.CloneTo == a.DropFrom:
		return fmt.Errorf("%w: a clone can't be made in the store that it is dropped from", ErrRequest)
	case a.DropFrom != "" && a.KeepStores[a.DropFrom]:
		return fmt.Errorf("%w: the store is protected, nothing is dropped from it", ErrRequest)
	}
	return nil
}

// Tool works with a cluster. Its methods can be called at the same time.
type Tool struct {
	Index    Index
	Agent    Agent
	Copies   int // clones wanted by the settings
	Parallel int // contents that are worked on at the same time, at least 1
}

// pageLen is how many contents are listed at once: an engine is not kept listing
// while clones are copied.
const pageLen = 512

// each calls f for every content that is meant, with how it stands.
func (t *Tool) each(ctx context.Context, s *Selection, f func(h content.Hash, c repair.Content) error) error {
	visit := func(h content.Hash, in string) error {
		c, err := t.Agent.Content(ctx, h)
		switch {
		case err != nil:
			return err
		case !strings.HasPrefix(h.String(), s.Folder), len(c.Clones) == 0 && len(s.Hashes) == 0, !s.meant(&c, in), !s.fits(c.Count()):
			return nil
		}
		return f(h, c)
	}
	switch {
	case len(s.Hashes) > 0:
		for _, h := range s.Hashes {
			if err := errors.Join(ctx.Err(), visit(h, "")); err != nil {
				return err
			}
		}
		return nil
	case len(s.Stores) > 0:
		for _, store := range s.Stores {
			err := pages(ctx, func(after content.Hash) iter.Seq2[content.Hash, error] { return t.inStore(ctx, store, after) },
				func(h content.Hash) error { return visit(h, store) })
			if err != nil {
				return err
			}
		}
		return nil
	}
	return pages(ctx, func(after content.Hash) iter.Seq2[content.Hash, error] { return t.Index.All(ctx, s.Folder, after) },
		func(h content.Hash) error { return visit(h, "") })
}

// meant tells whether a content is in one of the stores; one that is in several
// is met once, in the first of them.
func (s *Selection) meant(c *repair.Content, in string) bool {
	if len(s.Stores) == 0 {
		return true
	}
	for _, store := range s.Stores {
		if slices.ContainsFunc(c.Clones, func(clone inventory.Clone) bool { return clone.Store == store }) {
			return in == "" || in == store
		}
	}
	return false
}

func (t *Tool) inStore(ctx context.Context, store string, after content.Hash) iter.Seq2[content.Hash, error] {
	return func(yield func(content.Hash, error) bool) {
		for c, err := range t.Index.List(ctx, store, after) {
			if !yield(c.Hash, err) || err != nil {
				return
			}
		}
	}
}

// pages calls f with what a listing gives, a page at a time.
func pages(ctx context.Context, list func(after content.Hash) iter.Seq2[content.Hash, error], f func(content.Hash) error) error {
	var after content.Hash
	for {
		page := make([]content.Hash, 0, pageLen)
		for h, err := range list(after) {
			if err != nil {
				return err
			}
			if page = append(page, h); len(page) == pageLen {
				break
			}
		}
		for _, h := range page {
			if err := errors.Join(ctx.Err(), f(h)); err != nil {
				return err
			}
		}
		if len(page) < pageLen {
			return nil
		}
		after = page[len(page)-1]
	}
}
