package cluster

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secret = "the secret of a cluster in tests"
	former = "the secret that it had before"
)

var noon = time.UnixMilli(1_795_000_000_000)

// signed is a call as it comes to a server.
func signed(t testing.TB, keys *Keys, at time.Time) *http.Request {
	t.Helper()
	sent, err := http.NewRequest("POST", "http://edge2.oose.example:5971/cluster/records?a=b%20c", nil)
	require.NoError(t, err)
	keys.Sign(sent, "edge1", at)
	came := httptest.NewRequest("POST", "/cluster/records?a=b%20c", nil)
	came.Host, came.Header = "EDGE2.oose.example:5971", sent.Header
	return came
}

func TestCheck(t *testing.T) {
	flip := func(header string) func(*http.Request) {
		return func(r *http.Request) {
			v := []byte(r.Header.Get(header))
			if v[0]++; v[0] > 'Z' || v[0] < 'A' {
				v[0] = 'A'
			}
			r.Header.Set(header, string(v))
		}
	}
	for name, c := range map[string]struct {
		change func(*http.Request)
		want   error
	}{
		"as it was signed":      {func(*http.Request) {}, nil},
		"another host":          {func(r *http.Request) { r.Host = "edge3.oose.example:5971" }, ErrSignature},
		"another port":          {func(r *http.Request) { r.Host = "edge2.oose.example" }, ErrSignature},
		"another method":        {func(r *http.Request) { r.Method = "PUT" }, ErrSignature},
		"another path":          {func(r *http.Request) { r.RequestURI = "/cluster/journal?a=b%20c" }, ErrSignature},
		"another query":         {func(r *http.Request) { r.RequestURI = "/cluster/records?a=b+c" }, ErrSignature},
		"another node":          {func(r *http.Request) { r.Header.Set(HeaderNode, "edge9") }, ErrSignature},
		"another time":          {func(r *http.Request) { r.Header.Set(HeaderTime, strconv.FormatInt(noon.UnixMilli()+1, 10)) }, ErrSignature},
		"another nonce":         {flip(HeaderNonce), ErrSignature},
		"another signature":     {flip(HeaderSignature), ErrSignature},
		"half a signature":      {func(r *http.Request) { r.Header.Set(HeaderSignature, r.Header.Get(HeaderSignature)[:20]) }, ErrSignature},
		"a signature with more": {func(r *http.Request) { r.Header.Set(HeaderSignature, r.Header.Get(HeaderSignature)+"AA") }, ErrSignature},
		"no signature":          {func(r *http.Request) { r.Header.Del(HeaderSignature) }, ErrUnsigned},
		"no time":               {func(r *http.Request) { r.Header.Del(HeaderTime) }, ErrSignature},
		"a time with a sign":    {func(r *http.Request) { r.Header.Set(HeaderTime, "+"+r.Header.Get(HeaderTime)) }, ErrSignature},
		"an endless time":       {func(r *http.Request) { r.Header.Set(HeaderTime, strings.Repeat("9", 40)) }, ErrSignature},
		"no nonce":              {func(r *http.Request) { r.Header.Del(HeaderNonce) }, ErrSignature},
		"a short nonce":         {func(r *http.Request) { r.Header.Set(HeaderNonce, "AAAA") }, ErrSignature},
		"a long name":           {func(r *http.Request) { r.Header.Set(HeaderNode, strings.Repeat("x", 256)) }, ErrSignature},
	} {
		t.Run(name, func(t *testing.T) {
			keys := NewKeys([]string{secret})
			r := signed(t, NewKeys([]string{secret}), noon)
			c.change(r)
			node, err := keys.Check(r, noon)
			if c.want == nil {
				require.NoError(t, err)
				require.Equal(t, "edge1", node)
				return
			}
			require.ErrorIs(t, err, c.want)
			require.Zero(t, keys.remembered(), "only what a node signed takes memory")
		})
	}
}

func (k *Keys) remembered() (count int) {
	for i := range k.nonces.shards {
		count += k.nonces.shards[i].count
	}
	return count
}

func TestTimeAndReplay(t *testing.T) {
	keys := NewKeys([]string{secret})
	keys.since = time.Now().Add(-time.Hour)
	for _, c := range []struct {
		off  time.Duration
		want error
	}{
		{0, nil},
		{window, nil},
		{-window, nil},
		{window + time.Millisecond, ErrClock},
		{-window - time.Millisecond, ErrClock},
		{2 * time.Hour, ErrClock},
	} {
		r := signed(t, keys, noon.Add(c.off))
		_, err := keys.Check(r, noon)
		require.ErrorIs(t, err, c.want, c.off)
		if err != nil {
			continue
		}
		// It is let in once, for as long as its time holds.
		for _, later := range []time.Duration{0, time.Minute, c.off + window - time.Millisecond, c.off + window} {
			_, err := keys.Check(r, noon.Add(min(later, c.off+window)))
			require.ErrorIs(t, err, ErrReplay, "%s after %s", c.off, later)
		}
		_, err = keys.Check(r, noon.Add(c.off+window+time.Millisecond))
		require.ErrorIs(t, err, ErrClock)
	}
}

// What a former process may have let in is late for the next one, however clocks
// are set meanwhile.
func TestForgot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := NewKeys([]string{secret})
		const up = 10 * time.Second
		time.Sleep(up)
		for ago, want := range map[time.Duration]error{
			0: nil, up: nil, up + 2*time.Millisecond: ErrClock, window: ErrClock,
			-time.Second: nil, // a clock that is ahead
		} {
			_, err := keys.Check(signed(t, keys, time.Now().Add(-ago)), time.Now())
			require.ErrorIs(t, err, want, ago)
			for _, set := range []time.Duration{-time.Hour, time.Hour} {
				_, err = keys.Check(signed(t, keys, time.Now().Add(set-ago)), time.Now().Add(set))
				require.ErrorIs(t, err, want, "%s, and the clock was set by %s", ago, set)
			}
		}
	})
}

func TestRotation(t *testing.T) {
	was, both, is := NewKeys([]string{former}), NewKeys([]string{secret, former, ""}), NewKeys([]string{secret})
	for _, c := range []struct {
		signs, checks *Keys
		want          error
	}{
		{was, both, nil}, {both, both, nil}, {is, both, nil}, {both, is, nil},
		{both, was, ErrSignature}, {was, is, ErrSignature}, {is, was, ErrSignature},
	} {
		_, err := c.checks.Check(signed(t, c.signs, noon), noon)
		require.ErrorIs(t, err, c.want)
	}
	none := NewKeys([]string{""})
	require.True(t, none.Empty())
	_, err := none.Check(signed(t, is, noon), noon)
	require.ErrorIs(t, err, ErrSignature)
	r := signed(t, none, noon)
	require.Empty(t, r.Header)
	_, err = none.Check(r, noon)
	require.ErrorIs(t, err, ErrUnsigned)
}

// What is remembered is bounded: beyond it the oldest minute goes, and what was
// signed in it is late, never let in twice.
func TestNoncesAreBounded(t *testing.T) {
	var n nonces
	s := &n.shards[0]
	nonce := func(i int) (b [nonceLen]byte) {
		b[1], b[2], b[3] = byte(i), byte(i>>8), byte(i>>16)
		return b
	}
	old, now := noon.Add(-3*time.Minute), noon
	for i := range nonceBound / 2 {
		require.NoError(t, n.use(nonce(i), old, now))
	}
	for i := nonceBound / 2; i < nonceBound; i++ {
		require.NoError(t, n.use(nonce(i), now, now))
	}
	require.Equal(t, nonceBound, s.count)
	require.NoError(t, n.use(nonce(nonceBound), now, now))
	require.Equal(t, nonceBound/2+1, s.count)
	require.ErrorIs(t, n.use(nonce(1), old, now), ErrClock)
	require.ErrorIs(t, n.use(nonce(nonceBound+1), old, now), ErrClock, "nothing of that minute")
	require.ErrorIs(t, n.use(nonce(nonceBound-1), now, now), ErrReplay)
	// All in one minute: the next has to wait for another.
	for i := nonceBound + 2; s.count < nonceBound; i++ {
		require.NoError(t, n.use(nonce(i), now, now))
	}
	require.ErrorIs(t, n.use(nonce(3*nonceBound), now, now), ErrClock)
	require.NoError(t, n.use(nonce(3*nonceBound), now.Add(time.Minute), now.Add(time.Minute)))
	require.Equal(t, 1, s.count)
	// What is over is forgotten.
	require.NoError(t, n.use(nonce(1), now.Add(time.Hour), now.Add(time.Hour)))
	require.Equal(t, 1, s.count)
	require.Len(t, s.slots, 1)
}

func TestHostOf(t *testing.T) {
	for host, want := range map[string]string{
		"Edge1.OOSE.example": "edge1.oose.example", "edge1:80": "edge1:80", "127.0.0.1:443": "127.0.0.1:443",
		"[::1]:80": "[::1]:80", "[fe80::1%25eth0]:80": "[fe80::1]:80", "[fe80::1%eth0]:80": "[fe80::1]:80", "[::1]": "[::1]", "": "",
	} {
		require.Equal(t, want, hostOf(&http.Request{Host: host}), host)
	}
}

// FuzzCheck: whatever the headers say, nothing but what a node signed is let in.
func FuzzCheck(f *testing.F) {
	good := signed(f, NewKeys([]string{secret}), noon)
	const once = "AAECAwQFBgcICQoLDA0ODw" // the same in all of the processes that look for failures
	good.Header.Set(HeaderNonce, once)
	good.Header.Set(HeaderSignature, encoding.EncodeToString((*NewKeys([]string{secret}).ring.Load())[0].sum(good, "edge1", good.Header.Get(HeaderTime), once)))
	f.Add("edge1", good.Header.Get(HeaderTime), good.Header.Get(HeaderNonce), good.Header.Get(HeaderSignature), "edge2.oose.example:5971", good.RequestURI)
	f.Add("", "", "", "", "", "")
	f.Add("x", "-1", "AAAAAAAAAAAAAAAAAAAAAA", "AA", "[::1%eth0]", "/")
	f.Add("edge1\n5:edge1", "99999999999999999999", "=", "\x00", "[", "*")
	keys := NewKeys([]string{former, secret})
	f.Fuzz(func(t *testing.T, node, stamp, nonce, signature, host, uri string) {
		r := &http.Request{Method: "POST", Host: host, URL: &url.URL{Path: "/"}, RequestURI: uri, Header: http.Header{}}
		for name, value := range map[string]string{HeaderNode: node, HeaderTime: stamp, HeaderNonce: nonce, HeaderSignature: signature} {
			r.Header.Set(name, value)
		}
		name, err := keys.Check(r, noon)
		same := node == "edge1" && stamp == good.Header.Get(HeaderTime) && nonce == good.Header.Get(HeaderNonce) &&
			signature == good.Header.Get(HeaderSignature) && hostOf(r) == "edge2.oose.example:5971" && uriOf(r) == good.RequestURI
		if !same {
			require.Error(t, err)
		} else if err == nil {
			require.Equal(t, node, name)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	keys := NewKeys([]string{secret})
	r := signed(b, keys, noon)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, _, err := parse(r.Header); err != nil {
			b.Fatal(err)
		}
		_ = (*keys.ring.Load())[0].sum(r, "edge1", "1", "2")
	}
}
