package pull

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
)

func TestASetOfCaches(t *testing.T) {
	var s Set
	o := newOrigin(t, unit, 1)
	_, ok := s.File(o.hash)
	require.False(t, ok)
	_, err := s.Join(t.Context(), o.hash, o.size(), 0, 1, o.open)
	require.ErrorIs(t, err, ErrOff)

	one, two := newBench(t, 8*unit, nil), newBench(t, 8*unit, nil)
	s.Use(map[string]*Cache{"om101": one.Cache, "om102": two.Cache})
	read := func() {
		r, err := s.Join(t.Context(), o.hash, o.size(), 0, o.size(), o.open)
		require.NoError(t, err)
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, o.data, got)
		require.NoError(t, r.Close())
		one.idle()
		two.idle()
	}
	read()
	require.Len(t, o.asked(), 1)
	first, second := one, two
	if two.has(o) {
		first, second = two, one
	}
	require.True(t, first.has(o))
	require.False(t, second.has(o))

	first.faults.set(func() { first.faults.gone = true })
	read()
	require.True(t, second.has(o), "where one disk is away the other takes over")
	first.faults.set(func() { first.faults.gone = false })
	s.Drop(o.hash)
	_, ok = s.File(o.hash)
	require.False(t, ok)
}

func TestContentsAreSpread(t *testing.T) {
	var s Set
	s.Use(map[string]*Cache{"om101": nil, "om102": nil, "om103": nil})
	firsts, before := map[string]int{}, map[content.Hash]string{}
	for i := range 3000 {
		h := newHash(t, uint64(i))
		before[h] = s.ranked(h)[0].name
		firsts[before[h]]++
	}
	for name, n := range firsts {
		require.InDelta(t, 1000, n, 150, name)
	}
	s.Use(map[string]*Cache{"om101": nil, "om103": nil})
	for h, name := range before {
		if name != "om102" {
			require.Equal(t, name, s.ranked(h)[0].name, "it stays where it was")
		}
	}
}
