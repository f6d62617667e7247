package node

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/redisdb"
)

func TestBehindRedis(t *testing.T) {
	for _, c := range []struct {
		name    string
		stats   redisdb.Stats
		cut     bool
		already time.Duration
	}{
		{"just read", redisdb.Stats{Behind: 0.1}, false, 100 * time.Millisecond},
		{"a slow read", redisdb.Stats{Behind: 1.9}, false, 1900 * time.Millisecond},
		{"nothing was read for a while", redisdb.Stats{Behind: 4}, true, 4 * time.Second},
		{"never read", redisdb.Stats{Behind: -1}, true, 0},
		{"one part is away", redisdb.Stats{Behind: 0.5, Away: 1}, true, 500 * time.Millisecond},
	} {
		cut, already := behindRedis(c.stats)
		require.Equal(t, c.cut, cut, c.name)
		require.Equal(t, c.already, already, c.name)
	}
}

// A node that can't read what others revoke in Redis does not go on for longer
// than it may.
func TestAloneWithoutRedis(t *testing.T) {
	c := testConfig(t.TempDir())
	c.Engine = Engine{Kind: EngineRedis, URL: "redis://127.0.0.1:1/0"}
	c.Purchase.Alone = Duration(time.Hour)
	c.SetDefaults()
	n := openNode(t, c)
	attach(t, n, Spec{Config: c})
	soon(t, func() bool { return n.aloneSince.Load() != 0 })
	require.False(t, n.alone(), "not for that long")

	c.Purchase.Alone = Duration(time.Millisecond)
	a, _ := attach(t, n, Spec{Config: c})
	soon(t, n.alone)
	purchases, err := a.Purchase(PurchaseSpec{})
	require.NoError(t, err)
	w := httptest.NewRecorder()
	require.NoError(t, purchases.Serve(w, httptest.NewRequest("GET", "/a20261120a7ch2nx9djn/movie.mp4", nil)))
	require.Equal(t, 503, w.Code)
	require.Contains(t, w.Body.String(), "cut off")
	n.aloneSince.Store(0)
	require.False(t, n.alone())
}
