package record

import (
	"encoding/json"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTime(t *testing.T) {
	at := time.Date(2026, 11, 20, 12, 0, 0, 123e6, time.UTC)
	hybrid := TimeOf(at)
	require.Equal(t, at.UnixMilli(), hybrid.Milli())
	require.Equal(t, at.UnixMilli(), (hybrid + 65535).Milli(), "65,536 times within a millisecond")
	b, err := json.Marshal(map[string]Time{"t": math.MaxUint64})
	require.NoError(t, err)
	require.JSONEq(t, `{"t":"18446744073709551615"}`, string(b), "a string: JSON numbers lose digits")
	var back map[string]Time
	require.NoError(t, json.Unmarshal(b, &back))
	require.Equal(t, Time(math.MaxUint64), back["t"])
	for _, bad := range []string{`{"t":""}`, `{"t":"-1"}`, `{"t":"18446744073709551616"}`, `{"t":"x"}`} {
		require.Error(t, json.Unmarshal([]byte(bad), &back), bad)
	}
}

func FuzzTime(f *testing.F) {
	f.Add("0")
	f.Add("117648654336000001")
	f.Fuzz(func(t *testing.T, s string) {
		var a, b Time
		if a.UnmarshalText([]byte(s)) != nil {
			return
		}
		require.NoError(t, b.UnmarshalText([]byte(a.String())))
		require.Equal(t, a, b)
	})
}

func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewClock(nil)
		first := c.Next()
		require.Equal(t, time.Now().UnixMilli(), first.Milli())
		require.Equal(t, first+1, c.Next(), "within a millisecond it counts")
		time.Sleep(5 * time.Millisecond)
		later := c.Next()
		require.Equal(t, TimeOf(time.Now()), later)
		require.Equal(t, time.Now(), c.Wall())

		require.True(t, c.Observe(later-1))
		require.Equal(t, later+1, c.Next(), "what is earlier moves nothing")
		ahead := TimeOf(time.Now().Add(59 * time.Second))
		require.True(t, c.Observe(ahead))
		require.Equal(t, ahead+1, c.Next())
		require.False(t, c.Observe(TimeOf(time.Now().Add(61*time.Second))))
		require.Equal(t, ahead+2, c.Next(), "what is far ahead moves nothing")
		c.Restore(TimeOf(time.Now().Add(time.Hour)))
		require.Equal(t, TimeOf(time.Now().Add(time.Hour))+1, c.Next(), "except what it gave itself")
	})
}

func TestClockBack(t *testing.T) {
	now := time.Now()
	c := NewClock(func() time.Time { return now })
	before := c.Next()
	now = now.Add(-time.Hour)
	require.Equal(t, before+1, c.Next())
}

func TestClockRace(t *testing.T) {
	c := NewClock(nil)
	var wg sync.WaitGroup
	times := make([][]Time, 8)
	for i := range times {
		wg.Go(func() {
			for range 2000 {
				times[i] = append(times[i], c.Next())
			}
		})
	}
	wg.Wait()
	all := make(map[Time]bool)
	for _, mine := range times {
		var last Time
		for _, at := range mine {
			require.Greater(t, at, last)
			require.False(t, all[at], "given once")
			all[at], last = true, at
		}
	}
}

func TestClockCorrected(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	c := NewClock(func() time.Time { return now })
	before := c.Next()
	c.Correct(time.Hour)
	require.Equal(t, now.Add(time.Hour), c.Wall())
	ahead := c.Next()
	require.Equal(t, now.Add(time.Hour).UnixMilli(), ahead.Milli())
	require.True(t, c.Observe(TimeOf(now.Add(time.Hour+30*time.Second))), "a stamp that is near the corrected time")
	c.Correct(-time.Hour)
	require.Equal(t, now.Add(-time.Hour), c.Wall())
	require.Greater(t, c.Next(), ahead, "hybrid times only grow")
	require.Greater(t, ahead, before)
}
