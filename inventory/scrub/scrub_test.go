package scrub

import (
	"crypto/sha1"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
)

const day = 24 * time.Hour

func TestGap(t *testing.T) {
	for _, tc := range []struct{ every, gap time.Duration }{
		{time.Second, time.Minute},
		{time.Hour, time.Minute},
		{day, 22*time.Minute + 30*time.Second},
		{30 * day, 11*time.Hour + 15*time.Minute},
		{180 * day, day},
		{3650 * day, day},
	} {
		require.Equal(t, tc.gap, Gap(tc.every), tc.every)
	}
}

func TestWaitsAreRandomAndBounded(t *testing.T) {
	for _, every := range []time.Duration{time.Second, time.Hour, day, 180 * day} {
		pauses, firsts := map[time.Duration]bool{}, map[time.Duration]bool{}
		for range 100 {
			p, f := Pause(every), First(every)
			require.GreaterOrEqual(t, p, Gap(every)/2)
			require.LessOrEqual(t, p, Gap(every))
			require.Greater(t, f, time.Duration(0))
			require.LessOrEqual(t, f, 15*time.Minute)
			require.LessOrEqual(t, f, Gap(every))
			pauses[p], firsts[f] = true, true
		}
		require.Greater(t, len(pauses), 90)
		require.Greater(t, len(firsts), 90)
	}
}

func hashNumber(t testing.TB, n int) content.Hash {
	t.Helper()
	sum := sha1.Sum(binary.BigEndian.AppendUint64(nil, uint64(n)))
	h, err := content.HashOf(content.SHA1, sum[:])
	require.NoError(t, err)
	return h
}

func TestDue(t *testing.T) {
	now := time.UnixMilli(1e12)
	h := hashNumber(t, 1)
	require.True(t, Due(180*day, "s", h, 0, now).Before(now), "never verified: at once")
	require.True(t, Due(180*day, "s", h, now.Add(48*time.Hour).UnixMilli(), now).Before(now), "verified by a clock that was wrong")
	require.True(t, Due(180*day, "s", h, now.Add(time.Minute).UnixMilli(), now).After(now.Add(100*day)))
	var fall [8]int // how many are due in each part of the eighth
	same := 0
	for n := range 8000 {
		h := hashNumber(t, n)
		due := Due(180*day, "s", h, now.UnixMilli(), now)
		early := now.Add(180 * day).Sub(due)
		require.GreaterOrEqual(t, early, time.Duration(0))
		require.Less(t, early, 180*day/spread)
		fall[int(early*8/(180*day/spread))]++
		require.Equal(t, due, Due(180*day, "s", h, now.UnixMilli(), now), "it stays")
		if Due(180*day, "other", h, now.UnixMilli(), now).Sub(due).Abs() < day {
			same++
		}
	}
	for _, n := range fall {
		require.InDelta(t, 1000, n, 200, "spread evenly")
	}
	require.Less(t, same, 1600, "two stores do not read one content on the same day")
}

func TestOrder(t *testing.T) {
	a, b := Order(), Order()
	require.NotEqual(t, a, b)
	slices.Sort(a)
	for i, n := range a {
		require.Equal(t, i, n)
	}
}

func TestPacerKeepsTheRate(t *testing.T) {
	const rate, piece = 20_000_000, 512 << 10
	for _, tc := range []struct {
		name string
		late time.Duration // of each timer
		read time.Duration // of each piece
	}{
		{"ideal", 0, 0},
		{"late timers", 2 * time.Millisecond, 0},
		{"a slow disk", 0, 20 * time.Millisecond},
		{"both", 5 * time.Millisecond, 15 * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			start := time.UnixMilli(1e12)
			now, p := start, Pacer{}
			var bytes int64
			for range 2000 {
				p.Begin(now)
				now = now.Add(tc.read)
				bytes += piece
				if w := p.Wait(now, piece, rate, false); w > 0 {
					now = now.Add(w + tc.late)
				}
			}
			passed := now.Sub(start).Seconds()
			require.LessOrEqual(t, float64(bytes), rate*(passed+credit.Seconds()))
			require.Greater(t, float64(bytes), rate*passed*0.97, "nothing is given away")
		})
	}
}

func TestPacerAfterAPause(t *testing.T) {
	now, p := time.UnixMilli(1e12), Pacer{}
	p.Begin(now)
	p.Wait(now, 1000, 1000, false)
	now = now.Add(time.Hour)
	p.Begin(now)
	require.Equal(t, 900*time.Millisecond, p.Wait(now, 1000, 1000, false), "an hour of rest is no hour of reading")
}

func TestPacerYields(t *testing.T) {
	for _, tc := range []struct {
		took time.Duration
		busy bool
		want time.Duration
	}{
		{50 * time.Millisecond, false, 0},
		{50 * time.Millisecond, true, 150 * time.Millisecond},
		{0, true, 0},
	} {
		now, p := time.UnixMilli(1e12), Pacer{}
		p.Begin(now)
		require.Equal(t, tc.want, p.Wait(now.Add(tc.took), 1, 1e9, tc.busy))
	}
}

func TestMeter(t *testing.T) {
	now, m := time.UnixMilli(1e12), Meter{}
	for range 20 {
		m.Add(now, 1000)
		now = now.Add(time.Second)
	}
	require.Equal(t, int64(1000), m.Rate(now))
	require.Zero(t, m.Rate(now.Add(time.Minute)))
}
