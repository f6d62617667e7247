package inventory

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
)

func allOf(t *testing.T, x *Index, prefix string, after content.Hash, max int) (hashes []string) {
	t.Helper()
	for h, err := range x.All(t.Context(), prefix, after) {
		require.NoError(t, err)
		if hashes = append(hashes, h.String()); len(hashes) == max {
			break
		}
	}
	return hashes
}

func TestAll(t *testing.T) {
	b := openBench(t, nil)
	require.Empty(t, allOf(t, b.index, "", content.Hash{}, 0))
	var want []string
	for i := range 40 {
		want = append(want, b.put(fmt.Append(nil, i), "bin").Hash.String())
	}
	slices.Sort(want)
	gone, err := content.ParseHash(want[7])
	require.NoError(t, err)
	_, err = b.Drop(t.Context(), gone, b.clock.Next())
	require.NoError(t, err)
	want = slices.Delete(want, 7, 8)
	require.Equal(t, want, allOf(t, b.index, "", content.Hash{}, 0))

	third, err := content.ParseHash(want[2])
	require.NoError(t, err)
	require.Equal(t, want[3:5], allOf(t, b.index, "", third, 2))
	prefix := want[5][:1]
	require.Equal(t, slices.DeleteFunc(slices.Clone(want), func(h string) bool { return !strings.HasPrefix(h, prefix) }),
		allOf(t, b.index, prefix, content.Hash{}, 0))
}
