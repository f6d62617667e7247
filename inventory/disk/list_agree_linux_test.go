package disk

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestListingsAgree holds the candidate of the benchmark to what the portable
// listing finds.
func TestListingsAgree(t *testing.T) {
	root := t.TempDir()
	makeTree(t, root, 200, 3, false)
	makeTree(t, root, 50, 3, true)
	path := func(f Found) string { return ClonePath(parse(t, f.Key), f.Ext, f.Deep) }
	r, err := Attach(root, Options{Name: "om101"})
	require.NoError(t, err)
	defer r.Close()
	for _, cd := range []string{"00", "01", "02", "03"} {
		var a, b Listing
		require.NoError(t, r.collect(Content+"/00/"+cd, "00"+cd, &a))
		require.NoError(t, r.collectRaw(Content+"/00/"+cd, "00"+cd, &b))
		for _, l := range []*Listing{&a, &b} {
			slices.SortFunc(l.Found, func(x, y Found) int { return strings.Compare(path(x), path(y)) })
		}
		require.Equal(t, a, b)
	}
}
