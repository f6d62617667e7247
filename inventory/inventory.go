// Package inventory knows which store holds which content, and writes, reads,
// checks and removes the clones of one store's disk.
//
// A Volume is one store's root on one medium. Its write path is: temporary
// file on the same file system, hash while writing, fsync, rename into place,
// fsync of the directory, record. A crash at any point leaves either the whole
// clone or a temporary file that the next start removes. An Index answers from
// this node's own copy of the records who holds a content.
//
// A disk that is missing, foreign, full, read-only or broken is a state of its
// volume and never an error of the process; a disk that hangs holds up only
// the bounded workers of its own volume, and callers get an answer at a
// deadline.
package inventory

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/record"
)

// Errors on which callers decide. What a volume returns wraps them together
// with the store's name and the cause.
var (
	// ErrNotExist says that a store does not hold the content.
	ErrNotExist = fmt.Errorf("no such clone: %w", fs.ErrNotExist)
	// ErrChanged says that a clone's file is not as it was recorded; it is not
	// served until it has been verified, which goes on in the background.
	ErrChanged = errors.New("clone changed on disk")
	// ErrMismatch says that a digest is not the one that was announced.
	ErrMismatch = errors.New("hash mismatch")
	// ErrCollision says that a content was made for a collision attack on SHA-1.
	ErrCollision = errors.New("content is part of a sha1 collision attack")
	// ErrBlocked says that the operator refuses this content everywhere.
	ErrBlocked = errors.New("content is blocked")
	// ErrFull says that the disk, or its share above the reserve, has no room
	// for what was to be written.
	ErrFull = errors.New("disk full")
	// ErrReadOnly says that the store's file system can't be written.
	ErrReadOnly = errors.New("store is read-only")
	// ErrOffline says that the store's root is missing, foreign, closed or does
	// not answer.
	ErrOffline = errors.New("store is offline")
	// ErrSuspect says that the disk reported a failure and takes no writes
	// until it has passed a test.
	ErrSuspect = errors.New("disk is suspect")
)

// Clone is one copy of some content in one store: the value of an inventory
// record, whose key is the hash and whose member is the store's id.
type Clone struct {
	Hash  content.Hash `json:"-"`
	Store string       `json:"-"` // the store's id

	Ext      string      `json:"ext"`                // of the file, without its dot
	Size     int64       `json:"size"`               // bytes
	Mtime    int64       `json:"mtime"`              // the file's, nanoseconds since 1970
	Stored   int64       `json:"stored"`             // when this store first had it, milliseconds since 1970
	Verified int64       `json:"verified,omitempty"` // when its digest was last found right, milliseconds since 1970; 0: never
	Kept     record.Time `json:"kept"`               // a removal earlier than this does not concern it
	Deep     bool        `json:"deep,omitempty"`     // lies where OOSE 2.x put it, every pair of digits a folder
	Promised int64       `json:"promised,omitempty"` // until when this store has promised to keep it, milliseconds since 1970; 0: never
}

// decodeClone reads the clone of one merged inventory record. A record whose
// hash or extension could not stand in a path is refused, whoever wrote it.
func decodeClone(r record.Record) (Clone, error) {
	h, err := content.ParseHash(r.Key)
	if err != nil {
		return Clone{}, fmt.Errorf("reading inventory record: %w", err)
	}
	return decodeCloneOf(h, r)
}

func decodeCloneOf(h content.Hash, r record.Record) (Clone, error) {
	c := Clone{}
	if err := json.Unmarshal(r.Value, &c); err != nil {
		return Clone{}, fmt.Errorf("reading inventory record of %s: %w", h, err)
	}
	ext, err := content.ParseExt(c.Ext)
	if err != nil || ext != c.Ext {
		return Clone{}, fmt.Errorf("reading inventory record of %s: %w", h, content.ErrInvalidExt)
	}
	c.Hash, c.Store = h, r.Member
	return c, nil
}
