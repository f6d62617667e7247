package inventory

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/record"
)

// MaxWant is how many clones of one content can be wished for.
const MaxWant = 64

// want is the value of a record of topic want.
type want struct {
	Copies int `json:"copies"`
}

// Wanted returns how many clones of a content an operator wishes for, 0 where
// nobody said anything of it: then the setting counts.
func (x *Index) Wanted(ctx context.Context, h content.Hash) (int, error) {
	versions, err := x.engine.Get(ctx, record.Want, h.String())
	if err != nil {
		return 0, fmt.Errorf("looking up the clones wished for of %s: %w", h, err)
	}
	r, ok := record.Merge(record.Want, versions)
	var w want
	if !ok || json.Unmarshal(r.Value, &w) != nil {
		return 0, nil
	}
	return min(max(w.Copies, 0), MaxWant), nil
}

// Want writes down how many clones of a content an operator wishes for, from 1
// to MaxWant; 0 takes that back.
func (x *Index) Want(ctx context.Context, h content.Hash, copies int) error {
	if copies < 0 || copies > MaxWant {
		return fmt.Errorf("wishing for %d clones of %s: %w, 0 to %d can be", copies, h, record.ErrInvalid, MaxWant)
	}
	change := record.Change{Delete: copies == 0}
	if !change.Delete {
		var err error
		if change.Value, err = json.Marshal(want{Copies: copies}); err != nil {
			return fmt.Errorf("wishing for clones of %s: %w", h, err)
		}
	}
	if _, err := x.engine.Update(ctx, record.Want, h.String(), record.Condition{}, change); err != nil {
		return fmt.Errorf("wishing for clones of %s: %w", h, err)
	}
	return nil
}
