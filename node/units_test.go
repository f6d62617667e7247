package node

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDuration(t *testing.T) {
	for _, tt := range []struct {
		text, again string
		want        time.Duration
	}{
		{"90s", "1m30s", 90 * time.Second},
		{"2h", "2h", 2 * time.Hour},
		{"2h30m", "2h30m", 150 * time.Minute},
		{"180d", "180d", 180 * day},
		{"1d12h", "1d12h", 36 * time.Hour},
		{"1d0s", "1d", day},
		{"0s", "0s", 0},
		{"1h5s", "1h0m5s", time.Hour + 5*time.Second},
		{"250ms", "250ms", 250 * time.Millisecond},
	} {
		d, err := ParseDuration(tt.text)
		require.NoError(t, err, tt.text)
		require.Equal(t, tt.want, d.Std(), tt.text)
		require.Equal(t, tt.again, d.String())
		again, err := ParseDuration(d.String())
		require.NoError(t, err)
		require.Equal(t, d, again)
	}
	for _, bad := range []string{"", "1", "soon", "-1s", "+1s", "d", "1.5d", "1d-2h", "1d+2h", "99999999999999d", "106751d24h", "NaNs"} {
		_, err := ParseDuration(bad)
		require.ErrorIs(t, err, errDuration, bad)
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{
		"5GB": 5e9, "50MB": 50e6, "2TB": 2e12, "16MiB": 16 << 20, "1KB": 1000, "7B": 7, "0": 0, "1.5GB": 1.5e9, "512": 512,
	} {
		s, err := ParseSize(text)
		require.NoError(t, err, text)
		require.Equal(t, want, s, text)
		again, err := ParseSize(s.String())
		require.NoError(t, err)
		require.Equal(t, s, again, s.String())
	}
	for _, bad := range []string{"", "lots", "-5GB", "5 parsecs", "GB", "99999999999TB", ".5GB"} {
		_, err := ParseSize(bad)
		require.ErrorIs(t, err, errSize, bad)
	}
}

func TestUnitsInJSON(t *testing.T) {
	var v struct {
		D Duration
		S Size
		P Share
	}
	require.NoError(t, json.Unmarshal([]byte(`{"D":"1d","S":"5GB","P":"30%"}`), &v))
	require.Equal(t, Duration(day), v.D)
	require.Equal(t, Size(5e9), v.S)
	require.InDelta(t, 0.3, float64(v.P), 1e-9)
	b, err := json.Marshal(v)
	require.NoError(t, err)
	require.JSONEq(t, `{"D":"1d","S":"5GB","P":"30%"}`, string(b))
	require.NoError(t, json.Unmarshal([]byte(`{"D":86400000000000,"S":5000000000,"P":0.3}`), &v))
	require.Equal(t, Duration(day), v.D)
	require.Equal(t, Size(5e9), v.S)
	for _, bad := range []string{`{"D":-1}`, `{"D":1.5}`, `{"D":true}`, `{"S":-1}`, `{"S":"x"}`, `{"S":[]}`, `{"P":2}`, `{"P":"200%"}`, `{"P":"30"}`, `{"P":"NaN%"}`} {
		require.Error(t, json.Unmarshal([]byte(bad), &v), bad)
	}
}

func FuzzUnits(f *testing.F) {
	for _, s := range []string{"180d", "1d12h", "5GB", "1.5GiB", "30%", "0", "-1s", "1d-1s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := ParseDuration(s); err == nil {
			require.GreaterOrEqual(t, d, Duration(0))
			again, err := ParseDuration(d.String())
			require.NoError(t, err)
			require.Equal(t, d, again)
		}
		if n, err := ParseSize(s); err == nil {
			require.GreaterOrEqual(t, n, Size(0))
			again, err := ParseSize(n.String())
			require.NoError(t, err)
			require.Equal(t, n, again)
		}
		if p, err := ParseShare(s); err == nil {
			require.GreaterOrEqual(t, p, Share(0))
			require.LessOrEqual(t, p, Share(1))
		}
	})
}
