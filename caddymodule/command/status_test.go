package command

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/handlers/demand"
)

func TestDemandText(t *testing.T) {
	require.Empty(t, demandText(nil))
	require.Empty(t, demandText(&demand.Status{Asked: 3}))
	require.Equal(t, "1 hot content, 0 copies at other stores", demandText(&demand.Status{Hot: 1}))
	require.Equal(t, "2 hot contents, 1 copy at other stores; 1 copy taken in for other nodes, read 5 times",
		demandText(&demand.Status{Hot: 2, Copies: 1, Taken: 1, Lent: 5}))
}
