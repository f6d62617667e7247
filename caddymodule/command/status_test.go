package command

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/caddymodule/adminapi"
	"github.com/ooseio/oose/handlers/demand"
	"github.com/ooseio/oose/node"
)

func TestDemandText(t *testing.T) {
	require.Empty(t, demandText(nil))
	require.Empty(t, demandText(&demand.Status{Asked: 3}))
	require.Equal(t, "1 hot content, 0 copies at other stores", demandText(&demand.Status{Hot: 1}))
	require.Equal(t, "2 hot contents, 1 copy at other stores; 1 copy taken in for other nodes, read 5 times",
		demandText(&demand.Status{Hot: 2, Copies: 1, Taken: 1, Lent: 5}))
}

func TestStatusTellsOfProblems(t *testing.T) {
	now := adminapi.StatusAnswer{Status: node.Status{Name: "edge1", Problems: []node.Problem{}}}
	address := fakeNode(t, map[string]http.HandlerFunc{"GET /oose/status": func(w http.ResponseWriter, r *http.Request) { answerWith(t, now)(w, r) }})
	got := runCommand(t, address, "", "status")
	require.NoError(t, got.failure, got.err)
	require.Regexp(t, `problems +none`, got.out)
	got = runCommand(t, address, "", "status", "--json")
	require.NoError(t, got.failure, got.err)
	require.Contains(t, got.out, `"problems":[]`)

	now.Problems = []node.Problem{{Part: "store", Name: "om101", Text: "offline: no marker"}, {Part: "node", Text: "it is late"}}
	got = runCommand(t, address, "", "status")
	require.EqualError(t, got.failure, "exiting with status 5")
	require.Regexp(t, `PROBLEM +store om101: offline: no marker`, got.out)
	require.Regexp(t, `PROBLEM +it is late`, got.out)
	require.Contains(t, got.err, "not all is well: 2 problems")
	got = runCommand(t, address, "", "status", "--json")
	require.Error(t, got.failure)
	require.Contains(t, got.out, `"problems":[{"part":"store","name":"om101","text":"offline: no marker"},{"part":"node","text":"it is late"}]`)
}
