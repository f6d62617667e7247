package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"unicode/utf8"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/record"
)

// Errors of blocking on which callers decide.
var (
	// ErrNotBlocked says that a content is not blocked, as far as this node knows.
	ErrNotBlocked = errors.New("content is not blocked")
	// ErrInvalidReason says that the reason of a block is too long, or no text.
	ErrInvalidReason = errors.New("invalid reason")
)

// MaxReason is the longest reason of a block, in bytes.
const MaxReason = 4 << 10

// Block is the operator's refusal of a content: nobody gets it, and it is not
// taken in. What there is of it stays on the disks. It concerns this hash alone:
// the same bytes under another type of digest are another content.
type Block struct {
	Hash   content.Hash `json:"-"`
	Reason string       `json:"reason,omitempty"` // for the operator, never told to viewers
	Hidden bool         `json:"hidden,omitempty"` // viewers are answered as if nobody held it
	By     string       `json:"by,omitempty"`     // who said so
	At     int64        `json:"at,omitempty"`     // milliseconds since 1970
}

// blockValue is the value of a block record. A value that can't be read, or
// does not say, refuses.
type blockValue struct {
	Blocked *bool `json:"blocked"`
	Block
}

// Block has a content refused everywhere from now on, or changes what is said
// of a refusal. Errors: ErrInvalidReason and those of the engine.
func (x *Index) Block(ctx context.Context, b Block) (record.Ack, error) {
	if len(b.Reason) > MaxReason || !utf8.ValidString(b.Reason) {
		return record.Ack{}, fmt.Errorf("blocking %s: %w: it has at most %d bytes of UTF-8", b.Hash, ErrInvalidReason, MaxReason)
	}
	yes := true
	if b.At == 0 {
		b.At = x.clock.Wall().UnixMilli()
	}
	return x.writeBlock(ctx, b.Hash, blockValue{&yes, b}, "blocking")
}

// Unblock takes a refusal back. The earlier word stays in the journal; the
// later one counts. Errors: ErrNotBlocked and those of the engine.
func (x *Index) Unblock(ctx context.Context, h content.Hash, by string) (record.Ack, error) {
	switch _, refused, err := blockOf(ctx, x.engine, h.String()); {
	case err != nil:
		return record.Ack{}, err
	case !refused:
		return record.Ack{}, ErrNotBlocked
	}
	no := false
	return x.writeBlock(ctx, h, blockValue{&no, Block{By: by, At: x.clock.Wall().UnixMilli()}}, "unblocking")
}

func (x *Index) writeBlock(ctx context.Context, h content.Hash, v blockValue, doing string) (record.Ack, error) {
	value, err := json.Marshal(v)
	if err != nil {
		return record.Ack{}, fmt.Errorf("%s %s: %w", doing, h, err)
	}
	ack, err := x.engine.Update(ctx, record.Block, h.String(), record.Condition{}, record.Change{Value: value})
	if err != nil {
		return record.Ack{}, fmt.Errorf("%s %s: %w", doing, h, err)
	}
	return ack, nil
}

// Blocked returns the block of a content, false where there is none.
func (x *Index) Blocked(ctx context.Context, h content.Hash) (Block, bool, error) {
	b, refused, err := blockOf(ctx, x.engine, h.String())
	b.Hash = h
	return b, refused, err
}

// Blocks yields what is blocked now, in the order of the hashes. It ends at its
// first error.
func (x *Index) Blocks(ctx context.Context) iter.Seq2[Block, error] {
	return func(yield func(Block, error) bool) {
		var versions []record.Record
		flush := func() bool {
			if len(versions) == 0 {
				return true
			}
			h, err := content.ParseHash(versions[0].Key)
			b, refused := mergeBlock(versions)
			b.Hash = h
			return err != nil || !refused || yield(b, nil)
		}
		for r, err := range x.engine.List(ctx, record.Block, record.ByKey, "", "") {
			if err != nil {
				yield(Block{}, fmt.Errorf("listing what is blocked: %w", err))
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

// Refuses tells whether the operator refuses a content, which this store may
// hold all the same.
func (v *Volume) Refuses(ctx context.Context, h content.Hash) (bool, error) {
	return blocked(ctx, v.engine, h.String())
}

func blocked(ctx context.Context, e record.Engine, key string) (bool, error) {
	_, refused, err := blockOf(ctx, e, key)
	return refused, err
}

// blockOf tells whether the operator refuses a content: the latest word counts.
func blockOf(ctx context.Context, e record.Engine, key string) (Block, bool, error) {
	versions, err := e.Get(ctx, record.Block, key)
	if err != nil {
		return Block{}, false, fmt.Errorf("looking up the block of %s: %w", key, err)
	}
	b, refused := mergeBlock(versions)
	return b, refused, nil
}

// mergeBlock merges the versions under one key. One that does not say
// `"blocked": false` refuses.
func mergeBlock(versions []record.Record) (Block, bool) {
	r, ok := record.Merge(record.Block, versions)
	if !ok {
		return Block{}, false
	}
	var v blockValue
	if err := json.Unmarshal(r.Value, &v); err != nil {
		return Block{At: r.Time.Milli()}, true
	}
	if v.Blocked != nil && !*v.Blocked {
		return Block{}, false
	}
	if v.At == 0 {
		v.At = r.Time.Milli()
	}
	return v.Block, true
}
