package vote_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/heartbeat/vote"
)

func TestDoubt(t *testing.T) {
	for _, c := range []struct {
		watched, failing int
		want             bool
	}{
		{0, 0, false}, {1, 1, false}, {3, 3, false}, {4, 3, false}, {4, 4, true}, {5, 4, false}, {5, 5, true},
		{7, 6, false}, {7, 7, true}, {9, 8, false}, {10, 8, false}, {10, 9, true}, {20, 17, false}, {20, 18, true},
	} {
		require.Equal(t, c.want, vote.Doubt(c.watched, c.failing), fmt.Sprint(c.watched, c.failing))
	}
}

func TestDamping(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var d vote.Damping
	require.Equal(t, vote.Settled, d.Phase(now))
	require.Zero(t, d.Flaps(now))
	for i, held := range []time.Duration{0, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, time.Minute, time.Minute} {
		d.Lost(now)
		now = now.Add(time.Second)
		d.Returned(now)
		require.Equal(t, i+1, d.Flaps(now))
		for after, want := range map[time.Duration]vote.Phase{
			held - 1: vote.Held, held: vote.Trial, held + 5*time.Second - 1: vote.Trial, held + 5*time.Second: vote.Settled,
		} {
			if after >= 0 {
				require.Equal(t, want, d.Phase(now.Add(after)), "%s after it came back", after)
			}
		}
		now = now.Add(held + 6*time.Second)
	}
	now = now.Add(11 * time.Minute)
	require.Zero(t, d.Flaps(now), "calm is forgotten in")
	d.Lost(now)
	now = now.Add(time.Hour) // it stays away for long
	d.Returned(now)
	require.Equal(t, 1, d.Flaps(now))
	require.Equal(t, vote.Trial, d.Phase(now))
}
