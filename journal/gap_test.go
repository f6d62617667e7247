package journal

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
)

// TestNewDatabaseFillsAGap: who followed a restored node from its old copy on,
// before that met who knows what came after the copy, claims what it lacks. The
// digests tell; with new databases both get everything from the one that has it.
func TestNewDatabaseFillsAGap(t *testing.T) {
	base := t.TempDir()
	options := func(dir string) Options { return Options{Dir: filepath.Join(base, dir), Cluster: true} }
	write := func(r *running, from, to int) {
		for i := from; i <= to; i++ {
			r.put(record.User, fmt.Sprint("u", i), record.Change{Value: []byte("1")})
		}
	}
	a, b, c := start(t, options("a")), start(t, options("b")), start(t, options("c"))
	source := a.Source()
	write(a, 1, 10)
	ca := c.follow(a, source)
	c.reaches(source, 10)
	ca.cut()
	snapshot(t, a.opts.Dir, filepath.Join(base, "old"))
	write(a, 11, 20)
	ba := b.follow(a, source)
	b.reaches(source, 20)
	ba.cut()
	a.stop()

	a = start(t, options("old"))
	write(a, 21, 30)
	require.False(t, a.Ahead(c.Claims()[source]), "nobody can tell yet")
	ca = c.follow(a, source)
	c.reaches(source, a.Head())
	ca.cut()
	require.True(t, a.Ahead(b.Claims()[source]))
	require.NoError(t, a.Renew(t.Context()))
	b.follow(c, source)
	c.follow(b, source)
	for _, r := range []*running{b, c} {
		r.follow(a, a.Source())
		r.reaches(a.Source(), a.Head())
	}
	b.reaches(source, c.Claims()[source])
	require.NotEqual(t, b.Digests(), c.Digests())
	require.Empty(t, c.get(record.User, "u15"), "nothing tells it to ask")

	for _, dir := range []string{"a2", "c2"} {
		fresh := start(t, options(dir))
		for _, s := range []string{source, a.Source()} {
			fresh.follow(b, s)
			fresh.reaches(s, b.Claims()[s])
		}
		require.Equal(t, b.Digests(), fresh.Digests())
		for i := 1; i <= 30; i++ {
			require.NotEmpty(t, fresh.get(record.User, fmt.Sprint("u", i)))
		}
	}
}
