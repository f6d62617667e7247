package purchase_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/content"
	"github.com/ooseio/oose/purchase"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

var fox = mustHash("a03f181dc7dedcfb577511149b8844711efdb04f")

func mustHash(s string) content.Hash {
	h, err := content.ParseHash(s)
	if err != nil {
		panic(err)
	}
	return h
}

func spec() purchase.Spec {
	return purchase.Spec{Hash: fox, Ext: "mp4", Life: time.Hour}
}

// wall is a clock for tests to set.
type wall struct{ at time.Time }

func (w *wall) now() time.Time { return w.at }

func newBook(t testing.TB, clock *record.Clock) (*purchase.Book, *recordtest.Memory) {
	e := recordtest.NewMemory(clock)
	b := purchase.NewBook(e, newMinter(t, clock), clock, purchase.Options{})
	t.Cleanup(b.Close)
	return b, e
}

func TestAllows(t *testing.T) {
	w := &wall{time.UnixMilli(1_795_000_000_000)}
	book, _ := newBook(t, record.NewClock(w.now))
	one := netip.MustParseAddr("203.0.113.9")
	for _, c := range []struct {
		name     string
		referrer []string
		ip       []string
		after    time.Duration
		referer  string
		client   netip.Addr
		want     error
	}{
		{name: "no bounds", client: one},
		{name: "no bounds, any referer", referer: "https://elsewhere.example/", client: one},
		{name: "last millisecond", after: time.Hour - time.Millisecond, client: one},
		{name: "expired to the millisecond", after: time.Hour, client: one, want: purchase.ErrExpired},
		{name: "expired before all else", after: 2 * time.Hour, referrer: []string{"x"}, client: one, want: purchase.ErrExpired},
		{name: "referer matches", referrer: []string{`^https://(www\.)?shop\.example/`}, referer: "https://shop.example/a", client: one},
		{name: "second matches", referrer: []string{"nowhere", "shop"}, referer: "https://shop.example/a", client: one},
		{name: "a comma is a part of a pattern", referrer: []string{"^a{1,3}$"}, referer: "aaa", client: one},
		{name: "and bounds it", referrer: []string{"^a{1,3}$"}, referer: "aaaa", client: one, want: purchase.ErrReferrerRefused},
		{name: "referer missing", referrer: []string{"shop"}, client: one, want: purchase.ErrReferrerMissing},
		{name: "referer refused", referrer: []string{"shop"}, referer: "https://other.example/", client: one, want: purchase.ErrReferrerRefused},
		{name: "case counts", referrer: []string{"shop"}, referer: "https://SHOP.example/", client: one, want: purchase.ErrReferrerRefused},
		{name: "empty patterns bind nothing", referrer: []string{"", ""}, client: one},
		{name: "endless referer", referrer: []string{"."}, referer: strings.Repeat("a", 4097), client: one, want: purchase.ErrReferrerRefused},
		{name: "the address", ip: []string{"203.0.113.9"}, client: one},
		{name: "the address within IPv6", ip: []string{"203.0.113.9"}, client: netip.MustParseAddr("::ffff:203.0.113.9")},
		{name: "written within IPv6", ip: []string{"::ffff:203.0.113.9"}, client: one},
		{name: "prefix", ip: []string{"203.0.113.77/24"}, client: one},
		{name: "prefix written within IPv6", ip: []string{"::ffff:203.0.113.0/120"}, client: one},
		{name: "one of several", ip: []string{"198.51.100.0/24", "203.0.113.8/31"}, client: one},
		{name: "other address", ip: []string{"203.0.113.10"}, client: one, want: purchase.ErrAddressRefused},
		{name: "other prefix", ip: []string{"203.0.114.0/24"}, client: one, want: purchase.ErrAddressRefused},
		{name: "IPv6 prefix", ip: []string{"2001:db8::/32"}, client: netip.MustParseAddr("2001:db8:1::7")},
		{name: "IPv6 with a zone", ip: []string{"fe80::/10"}, client: netip.MustParseAddr("fe80::1%eth0")},
		{name: "IPv4 is not in ::/0", ip: []string{"::/0"}, client: one, want: purchase.ErrAddressRefused},
		{name: "no address", ip: []string{"0.0.0.0/0"}, client: netip.Addr{}, want: purchase.ErrAddressRefused},
		{name: "referer before address", referrer: []string{"shop"}, ip: []string{"203.0.113.10"}, client: one, want: purchase.ErrReferrerMissing},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := spec()
			s.Referrer, s.IP = c.referrer, c.ip
			made, _, err := book.Make(t.Context(), s)
			require.NoError(t, err)
			found, err := book.Find(t.Context(), made.Token)
			require.NoError(t, err)
			for _, p := range []*purchase.Purchase{made, found} {
				require.ErrorIs(t, p.Allows(w.at.Add(c.after), c.referer, c.client), c.want)
			}
		})
	}
}

func TestMakeRefuses(t *testing.T) {
	book, _ := newBook(t, record.NewClock(nil))
	many := make([]string, 65)
	for i := range many {
		many[i] = "a"
	}
	for _, c := range []struct {
		name string
		edit func(*purchase.Spec)
		want error
	}{
		{"no hash", func(s *purchase.Spec) { s.Hash = content.Hash{} }, purchase.ErrInvalidContent},
		{"no extension", func(s *purchase.Spec) { s.Ext = "" }, purchase.ErrInvalidContent},
		{"a path as extension", func(s *purchase.Spec) { s.Ext = "../x" }, purchase.ErrInvalidContent},
		{"no life", func(s *purchase.Spec) { s.Life = 0 }, purchase.ErrInvalidLife},
		{"negative life", func(s *purchase.Spec) { s.Life = -time.Second }, purchase.ErrInvalidLife},
		{"endless life", func(s *purchase.Spec) { s.Life = purchase.MaxLife + 1 }, purchase.ErrInvalidLife},
		{"negative count", func(s *purchase.Spec) { s.Count = -1 }, purchase.ErrInvalidCount},
		{"no pattern", func(s *purchase.Spec) { s.Referrer = []string{"("} }, purchase.ErrInvalidReferrer},
		{"not of RE2", func(s *purchase.Spec) { s.Referrer = []string{"(?=x)"} }, purchase.ErrInvalidReferrer},
		{"too long", func(s *purchase.Spec) { s.Referrer = []string{strings.Repeat("a", 1025)} }, purchase.ErrInvalidReferrer},
		{"too many", func(s *purchase.Spec) { s.Referrer = many }, purchase.ErrInvalidReferrer},
		{"too large a program", func(s *purchase.Spec) { s.Referrer = []string{strings.Repeat(`\pL{900}`, 100)} }, purchase.ErrInvalidReferrer},
		{"nested repetition", func(s *purchase.Spec) { s.Referrer = []string{"(((a{9}){9}){9}b{100}c{900}d{900}e{900}f{900})"} }, purchase.ErrInvalidReferrer},
		{"too large programs together", func(s *purchase.Spec) { s.Referrer = []string{"(a?){900}b", "(a?){900}c", "(a?){900}d"} }, purchase.ErrInvalidReferrer},
		{"too much in total", func(s *purchase.Spec) {
			s.Referrer = make([]string, 64)
			for i := range s.Referrer {
				s.Referrer[i] = strings.Repeat("\\\\", 512)
			}
		}, purchase.ErrInvalidReferrer},
		{"no address", func(s *purchase.Spec) { s.IP = []string{"home"} }, purchase.ErrInvalidAddress},
		{"too wide a prefix", func(s *purchase.Spec) { s.IP = []string{"203.0.113.0/33"} }, purchase.ErrInvalidAddress},
		{"an address with a zone", func(s *purchase.Spec) { s.IP = []string{"fe80::1%eth0"} }, purchase.ErrInvalidAddress},
		{"half of IPv4 within IPv6", func(s *purchase.Spec) { s.IP = []string{"::ffff:0:0/90"} }, purchase.ErrInvalidAddress},
		{"a list in one text", func(s *purchase.Spec) { s.IP = []string{"203.0.113.1,203.0.113.2"} }, purchase.ErrInvalidAddress},
		{"too many addresses", func(s *purchase.Spec) { s.IP = strings.Split(strings.Repeat("203.0.113.1,", 65), ",") }, purchase.ErrInvalidAddress},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := spec()
			c.edit(&s)
			p, _, err := book.Make(t.Context(), s)
			require.ErrorIs(t, err, c.want)
			require.Nil(t, p)
		})
	}
}

func TestMakeTakesTheLargest(t *testing.T) {
	book, _ := newBook(t, record.NewClock(nil))
	s := spec()
	s.Life = purchase.MaxLife
	s.Referrer = make([]string, 60)
	for i := range s.Referrer {
		s.Referrer[i] = strings.Repeat("<", 1024) // HTML's escapes would make six of each
	}
	p, _, err := book.Make(t.Context(), s)
	require.NoError(t, err)
	require.Greater(t, p.Left(time.Now()), 99*365*24*time.Hour)
	found, err := book.Find(t.Context(), p.Token)
	require.NoError(t, err)
	require.NoError(t, found.Allows(time.Now(), strings.Repeat("<", 1024), netip.Addr{}))
}

func FuzzReferrer(f *testing.F) {
	for _, s := range []string{"", "shop", `^https?://(www\.)?shop\.example/`, "a{1,3}", "((a{9}){9}){9}", `\pL{1000}`, "(?i)x", "[", "(?=a)", "a**", "(?:(?:a?){30}){30}", "\xff"} {
		f.Add(s, "https://shop.example/")
	}
	book, _ := newBook(f, record.NewClock(nil))
	f.Fuzz(func(t *testing.T, pattern, referer string) {
		s := spec()
		s.Referrer = []string{pattern}
		p, _, err := book.Make(t.Context(), s)
		if err != nil {
			require.ErrorIs(t, err, purchase.ErrInvalidReferrer)
			return
		}
		found, err := book.Find(t.Context(), p.Token)
		require.NoError(t, err)
		require.Equal(t, p.Allows(time.Now(), referer, netip.Addr{}), found.Allows(time.Now(), referer, netip.Addr{}))
	})
}

func FuzzParsePrefixes(f *testing.F) {
	for _, s := range []string{"", "203.0.113.9", "203.0.113.0/24", "2001:db8::/32", "::ffff:1.2.3.4", "::ffff:1.2.3.0/120", "fe80::1%eth0", "1.2.3.4/33", "/", "1.2.3.4/08"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		prefixes, err := purchase.ParsePrefixes([]string{s})
		if err != nil {
			require.ErrorIs(t, err, purchase.ErrInvalidAddress)
			return
		}
		if strings.TrimSpace(s) == "" {
			require.Empty(t, prefixes)
			return
		}
		require.Len(t, prefixes, 1)
		require.True(t, prefixes[0].IsValid())
		require.Equal(t, prefixes[0].Masked(), prefixes[0])
		require.False(t, prefixes[0].Addr().Is4In6())
		again, err := purchase.ParsePrefixes([]string{prefixes[0].String()})
		require.NoError(t, err)
		require.Equal(t, prefixes, again)
	})
}
