package inventory

import (
	"context"
	"fmt"
	"iter"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/record"
)

// All yields the contents that records place somewhere, in the order of their
// hashes' text: those whose hash begins with prefix, from the first behind after
// (the zero hash: from the beginning). What is removed, and lies only in stores
// that count no more, may be among them. It ends at its first error.
func (x *Index) All(ctx context.Context, prefix string, after content.Hash) iter.Seq2[content.Hash, error] {
	return func(yield func(content.Hash, error) bool) {
		from := ""
		if !after.IsZero() {
			from = after.String()
		}
		var versions []record.Record
		flush := func() bool {
			if len(record.Members(record.Inventory, x.whose().counting(versions))) == 0 {
				return true
			}
			h, err := content.ParseHash(versions[0].Key)
			return err != nil || yield(h, nil) // what is no hash can't be asked about
		}
		for r, err := range x.engine.List(ctx, record.Inventory, record.ByKey, prefix, from) {
			if err != nil {
				yield(content.Hash{}, fmt.Errorf("listing all contents: %w", err))
				return
			}
			if len(versions) > 0 && versions[0].Key != r.Key {
				if !flush() {
					return
				}
				versions = versions[:0]
			}
			versions = append(versions, r)
		}
		flush()
	}
}
