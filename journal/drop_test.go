package journal

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
)

// TestDropUnderClaim: what is above the claim stays until that has come so far,
// and who knew an older version starts over and has none either.
func TestDropUnderClaim(t *testing.T) {
	a, b, c := start(t, Options{}), start(t, Options{}), start(t, Options{})
	clone := func(i int, value string) {
		a.put(record.Inventory, fmt.Sprint("h", i), record.Change{Member: "s", Value: []byte(value)})
	}
	for i := range 10 {
		clone(i, "1")
	}
	l := c.follow(a, a.Source())
	c.reaches(a.Source(), 10)
	l.cut()
	clone(3, "2")
	l = b.follow(a, a.Source())
	b.reaches(a.Source(), 11)
	l.cut()
	clone(4, "2")
	former := a.walk()
	require.NoError(t, b.Import(t.Context(), a.get(record.Inventory, "h4")))
	n, err := b.Drop(t.Context(), former)
	require.NoError(t, err)
	require.Equal(t, 9, n, "all but what came before its turn")
	require.Equal(t, b.get(record.Inventory, "h4"), b.walk())
	b.follow(a, a.Source())
	b.reaches(a.Source(), 12)
	n, err = b.Drop(t.Context(), former)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Empty(t, b.walk())
	require.Empty(t, b.keys("m"))
	require.Empty(t, b.keys("v"))

	require.NoError(t, b.Import(t.Context(), c.walk()))
	require.Empty(t, b.walk(), "one who lags brings nothing back")
	c.follow(b, a.Source())
	c.reaches(a.Source(), 12)
	require.Empty(t, c.walk())
	require.Equal(t, b.Digests(), c.Digests())

	d := start(t, Options{})
	d.follow(a, a.Source())
	d.reaches(a.Source(), 12)
	require.Len(t, d.walk(), 10, "each drops for itself")
	b.reopen()
}

// TestDropMany takes more away than a batch holds.
func TestDropMany(t *testing.T) {
	a := start(t, Options{})
	const records = 2500
	a.putMany(record.Inventory, records, func(i int) (string, record.Change) {
		return fmt.Sprint("h", i), record.Change{Member: "s", Value: []byte("1")}
	})
	var told seen
	defer a.Watch(record.Inventory, told.add)()
	n, err := a.Drop(t.Context(), a.walk())
	require.NoError(t, err)
	require.Equal(t, records, n)
	require.Len(t, told.take(), records)
	require.Empty(t, a.keys("r"))
	a = a.reopen()
	require.Empty(t, a.walk())
	require.EqualValues(t, records+1, a.put(record.Inventory, "h", record.Change{Member: "s"}).Revision)
}
