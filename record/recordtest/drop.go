package recordtest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
)

// testDrop takes single versions away: those that are still there, without a
// trace, whoever wrote them.
func testDrop(t *testing.T, e record.Engine) {
	inject, injects := e.(Injector)
	dropper, drops := e.(record.Dropper)
	if !injects || !drops {
		return
	}
	drop := func(records ...record.Record) int {
		t.Helper()
		n, err := dropper.Drop(t.Context(), records)
		require.NoError(t, err)
		return n
	}
	member := func(name string) []string {
		return names(collect(t, e.List(t.Context(), record.Inventory, record.ByMember, name, "")))
	}
	ack := put(t, e, record.Inventory, "h", "own", "s1")
	former, older := foreign("aa", 3, record.Inventory, "h", "s1", ack.Time+1), foreign("aa", 2, record.Inventory, "h", "s1", 1)
	alone := foreign("aa", 5, record.Inventory, "g", "s1", 6)
	inject.Inject(former, foreign("bb", 4, record.Inventory, "h", "s1", 2), foreign("aa", 4, record.Inventory, "h", "s11", 5), alone)
	var seen []record.Record
	defer e.Watch(record.Inventory, func(records []record.Record) { seen = append(seen, records...) })()

	require.Zero(t, drop(older, foreign("cc", 3, record.Inventory, "h", "s1", 1), foreign("aa", 3, record.Inventory, "none", "s1", 1)),
		"none of them is there")
	require.Empty(t, seen)
	require.Equal(t, 2, drop(former, older, alone))
	require.ElementsMatch(t, []string{"h/s1", "g/s1"}, names(seen))
	for _, r := range seen {
		require.True(t, r.Deleted)
		require.Equal(t, "aa", r.Source)
	}
	require.Equal(t, []string{"h/s1", "h/s1", "h/s11"}, names(get(t, e, record.Inventory, "h")))
	require.Empty(t, get(t, e, record.Inventory, "g"))
	require.Equal(t, []string{"h/s1", "h/s1"}, member("s1"))
	live, _ := record.Merge(record.Inventory, get(t, e, record.Inventory, "h")[:2])
	require.Equal(t, "own", string(live.Value))
	require.Len(t, collect(t, e.Walk(t.Context(), nil)), 3)
	require.Zero(t, drop(former, alone), "they are gone")

	require.Equal(t, 1, drop(foreign("aa", 4, record.Inventory, "h", "s11", 5)))
	require.Empty(t, member("s11"))
	require.Equal(t, 1, drop(get(t, e, record.Inventory, "h")[1]))
	own := get(t, e, record.Inventory, "h")
	require.Len(t, own, 1)
	require.Equal(t, 1, drop(own...), "its own as well: its node may be a former owner")
	require.Empty(t, collect(t, e.List(t.Context(), record.Inventory, record.ByKey, "", "")))

	again := put(t, e, record.Inventory, "h", "again", "s1")
	require.Greater(t, again.Revision, ack.Revision)
	inject.Inject(foreign("aa", 9, record.Inventory, "h", "s1", 1))
	require.Equal(t, []string{"h/s1", "h/s1"}, member("s1"), "what is written later is kept")

	_, err := dropper.Drop(t.Context(), []record.Record{foreign("aa", 3, record.User, "h", "", 1)})
	require.ErrorIs(t, err, record.ErrInvalid, "what other topics say keeps things from coming back")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = dropper.Drop(ctx, []record.Record{former})
	require.ErrorIs(t, err, context.Canceled)
}
