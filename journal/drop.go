package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ooseio/oose/record"
)

var _ record.Dropper = (*Journal)(nil)

// Drop lets versions of the inventory go, see record.Dropper. Those above the
// claim on their source stay until it has come so far; then no relay can bring
// back what went, because it is not newer than the claim.
func (j *Journal) Drop(ctx context.Context, records []record.Record) (int, error) {
	gone := make([]revised, len(records))
	for i := range records {
		if err := record.CheckDrop(records[i]); err != nil {
			return 0, err
		}
		gone[i] = revised{records[i].Revision, recordKey(&records[i])}
	}
	dropped := 0
	for some := range slices.Chunk(gone, sweepHints) {
		n, err := j.forget(ctx, some, true)
		if dropped += n; err != nil {
			return dropped, fmt.Errorf("dropping what former owners wrote: %w", err)
		}
	}
	return dropped, ctx.Err()
}

// forget has the committer drop versions that are no longer alive, and returns
// how many were there.
func (j *Journal) forget(ctx context.Context, gone []revised, former bool) (dropped int, err error) {
	for len(gone) > 0 {
		res := j.submit(ctx, j.background, &request{gone: gone, former: former})
		if res.err != nil {
			return dropped, res.err
		}
		if res.handled == 0 {
			return dropped, errors.New("nothing of it fits into a batch")
		}
		dropped += res.dropped
		gone = gone[res.handled:]
	}
	return dropped, nil
}
