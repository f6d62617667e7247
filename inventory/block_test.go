package inventory

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

func blocksOf(t *testing.T, x *Index) (all []Block) {
	t.Helper()
	for b, err := range x.Blocks(t.Context()) {
		require.NoError(t, err)
		all = append(all, b)
	}
	return all
}

func TestBlockAndUnblock(t *testing.T) {
	b := openBench(t, nil)
	c := b.put([]byte("abc"), "mp4")
	before, err := b.index.Find(t.Context(), c.Hash)
	require.NoError(t, err)
	require.False(t, before.Blocked)
	require.Empty(t, blocksOf(t, b.index))
	_, err = b.index.Unblock(t.Context(), c.Hash, "bob")
	require.ErrorIs(t, err, ErrNotBlocked)

	_, err = b.index.Block(t.Context(), Block{Hash: c.Hash, Reason: "a court said so", By: "alice"})
	require.NoError(t, err)
	p, err := b.index.Find(t.Context(), c.Hash)
	require.NoError(t, err)
	require.True(t, p.Blocked)
	require.False(t, p.Hidden)
	require.Len(t, p.Clones, 1, "what is blocked is not removed")
	require.FileExists(t, b.path(c))
	refused, err := b.Refuses(t.Context(), c.Hash)
	require.NoError(t, err)
	require.True(t, refused)
	_, _, err = b.Renew(t.Context(), c.Hash)
	require.ErrorIs(t, err, ErrBlocked, "an upload of what is there already")
	list := blocksOf(t, b.index)
	require.Len(t, list, 1)
	require.NotZero(t, list[0].At)
	list[0].At = 0
	require.Equal(t, Block{Hash: c.Hash, Reason: "a court said so", By: "alice"}, list[0])

	_, err = b.index.Block(t.Context(), Block{Hash: c.Hash, Hidden: true})
	require.NoError(t, err)
	p, err = b.index.Find(t.Context(), c.Hash)
	require.NoError(t, err)
	require.True(t, p.Blocked && p.Hidden, "the later word counts")

	_, err = b.index.Unblock(t.Context(), c.Hash, "bob")
	require.NoError(t, err)
	p, err = b.index.Find(t.Context(), c.Hash)
	require.NoError(t, err)
	require.False(t, p.Blocked || p.Hidden)
	require.Empty(t, blocksOf(t, b.index))
	_, ok, err := b.Renew(t.Context(), c.Hash)
	require.NoError(t, err)
	require.True(t, ok)
}

func TestBlockReason(t *testing.T) {
	b := openBench(t, nil)
	h := hashOf(t, content.SHA1, []byte("abc"))
	for _, reason := range []string{strings.Repeat("x", MaxReason+1), "\xff"} {
		_, err := b.index.Block(t.Context(), Block{Hash: h, Reason: reason})
		require.ErrorIs(t, err, ErrInvalidReason)
	}
	require.Empty(t, blocksOf(t, b.index))
}

// TestBlocksMerge has two nodes disagree: the later hybrid time wins, whoever
// said it, and what can't be read refuses.
func TestBlocksMerge(t *testing.T) {
	h := hashOf(t, content.SHA1, []byte("abc"))
	version := func(source string, at record.Time, value string) record.Record {
		return record.Record{Topic: record.Block, Key: h.String(), Source: source, Time: at, Revision: 1, Value: []byte(value)}
	}
	const yes, no = `{"blocked":true,"reason":"r"}`, `{"blocked":false}`
	for name, tt := range map[string]struct {
		versions []record.Record
		want     bool
	}{
		"none":                                 {nil, false},
		"blocked later":                        {[]record.Record{version("a", 10, no), version("b", 11, yes)}, true},
		"unblocked later":                      {[]record.Record{version("a", 12, no), version("b", 11, yes)}, false},
		"at the same time, the greater source": {[]record.Record{version("a", 11, no), version("b", 11, yes)}, true},
		"does not say":                         {[]record.Record{version("a", 10, `{}`)}, true},
		"unreadable":                           {[]record.Record{version("a", 10, `nonsense`)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			block, got := mergeBlock(tt.versions)
			require.Equal(t, tt.want, got)
			if got && strings.Contains(string(tt.versions[len(tt.versions)-1].Value), "reason") {
				require.Equal(t, "r", block.Reason)
			}
		})
	}
}

// TestBlockIsHeardElsewhere has another node's block take effect in an index
// that has answered from memory.
func TestBlockIsHeardElsewhere(t *testing.T) {
	clock := record.NewClock(nil)
	engine := recordtest.NewMemory(clock)
	b := openBenchOn(t, engine, clock, nil)
	c := b.put([]byte("abc"), "mp4")
	var gone []content.Hash
	stop := b.index.OnGone(func(h content.Hash) { gone = append(gone, h) })
	defer stop()
	_, err := b.index.Find(t.Context(), c.Hash)
	require.NoError(t, err)
	require.NoError(t, engine.Import(context.Background(), []record.Record{{
		Topic: record.Block, Key: c.Hash.String(), Source: "elsewhere", Time: clock.Next(), Revision: 1, Value: []byte(`{"blocked":true}`),
	}}))
	p, err := b.index.Find(t.Context(), c.Hash)
	require.NoError(t, err)
	require.True(t, p.Blocked)
	require.Equal(t, []content.Hash{c.Hash}, gone, "caches are told to drop it")
}
