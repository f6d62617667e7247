package journal

import (
	"context"
	"errors"
	"fmt"

	"github.com/ooseio/oose/record"
)

// Errors of Stream and Follow on which callers decide.
var (
	// ErrStream says that a server sent what is no journal's stream, or not
	// what was asked for. What was good before it is kept.
	ErrStream = errors.New("malformed journal stream")
	// ErrVersion says that the server speaks another version of the stream.
	// It comes with ErrStream.
	ErrVersion = errors.New("another version of the journal's stream")
	// ErrSilent says that nothing came from the server for too long.
	ErrSilent = errors.New("the server of the journal is silent")
	// ErrResume says that the server can't go on where it was left: ask it
	// again, from Since, which now says less.
	ErrResume = errors.New("the server can't go on where it was left")
	// ErrAhead says that who asks knows more of this journal's own source than
	// it does itself: an old copy of the database was restored, see Part.
	ErrAhead = errors.New("others know more of this source than its own journal")
	// ErrForked says that what is here of a source, and what the other end knows
	// of it, are two continuations of one past: ask again when both have heard
	// of each other, see Part.
	ErrForked = errors.New("the source was written on from an old copy of its database")
	// ErrUnknown says that nothing is known of a source.
	ErrUnknown = errors.New("unknown source")
)

var (
	_ record.Importer  = (*Journal)(nil)
	_ record.Confirmer = (*Journal)(nil)
)

// Import keeps what other sources wrote; see record.Importer. Of this
// journal's own source it takes nothing, and refuses with record.ErrInvalid
// what is above the head.
func (j *Journal) Import(ctx context.Context, records []record.Record) error {
	own, head := j.Source(), j.Head()
	for i := range records {
		r := &records[i]
		if err := record.CheckRecord(*r); err != nil {
			return err
		}
		if r.Source == own && r.Revision > head {
			return fmt.Errorf("%w: revision %d of this journal's own source, which has come to %d", record.ErrInvalid, r.Revision, head)
		}
	}
	for len(records) > 0 {
		n := min(len(records), maxChanges)
		items := make([]incoming, 0, n)
		for _, r := range records[:n] {
			items = append(items, makeIncoming(r))
		}
		if err := j.take(ctx, j.live, nil, items, nil, nil); err != nil {
			return fmt.Errorf("importing records: %w", err)
		}
		records = records[n:]
	}
	return nil
}
