package purchase_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/purchase"
	"github.com/ooseio/oose/record"
)

func TestMakeAndFind(t *testing.T) {
	w := &wall{time.UnixMilli(1_795_000_000_000)}
	book, _ := newBook(t, record.NewClock(w.now))
	s := purchase.Spec{Hash: fox, Ext: ".MP4", Referrer: []string{"a{1,2}", "", "b"}, IP: []string{"203.0.113.9", "2001:db8::1/32"}, Count: 3, Life: time.Minute}
	made, ack, err := book.Make(t.Context(), s)
	require.NoError(t, err)
	require.Equal(t, 1, ack.Copies)
	require.True(t, book.Plausible(made.Token))

	for range 2 { // from the engine, then from memory
		p, err := book.Find(t.Context(), made.Token)
		require.NoError(t, err)
		require.Equal(t, made.Token, p.Token)
		require.Equal(t, fox, p.Hash)
		require.Equal(t, "mp4", p.Ext)
		require.Equal(t, []string{"a{1,2}", "b"}, p.Referrer)
		require.Equal(t, []netip.Prefix{netip.MustParsePrefix("203.0.113.9/32"), netip.MustParsePrefix("2001:db8::/32")}, p.IP)
		require.Equal(t, int64(3), p.Count)
		require.Equal(t, w.at.Add(time.Minute).UnixMilli(), p.Expires)
		require.Equal(t, made.Made, p.Made)
		require.False(t, p.Revoked)
		require.Equal(t, time.Minute, p.Left(w.at))
		require.Zero(t, p.Left(w.at.Add(time.Hour)))
	}
	require.Equal(t, 1, book.Len())
	require.Equal(t, 1, book.Flush())
	require.Zero(t, book.Len())
	_, err = book.Find(t.Context(), made.Token)
	require.NoError(t, err)
}

func TestFindUnknown(t *testing.T) {
	book, e := newBook(t, record.NewClock(nil))
	for _, token := range []purchase.Token{"", "a20261120a7ch2nx9djn", "no token at all"} {
		_, err := book.Find(t.Context(), token)
		require.ErrorIs(t, err, purchase.ErrUnknown)
		require.NotErrorIs(t, err, purchase.ErrRevoked)
	}
	require.Zero(t, book.Len(), "what is not there takes no room in memory")

	made, _, err := book.Make(t.Context(), spec())
	require.NoError(t, err)
	e.Fail(record.ErrUnavailable)
	_, err = book.Find(t.Context(), made.Token)
	require.ErrorIs(t, err, record.ErrUnavailable)
	require.NotErrorIs(t, err, purchase.ErrUnknown, "what can't be read is not unknown")
	require.NotContains(t, err.Error(), string(made.Token))
	_, _, err = book.Make(t.Context(), spec())
	require.ErrorIs(t, err, record.ErrUnavailable)
	require.ErrorIs(t, book.Revoke(t.Context(), made.Token), record.ErrUnavailable)

	e.Fail(nil)
	_, err = book.Find(t.Context(), made.Token)
	require.NoError(t, err)
	e.Fail(record.ErrUnavailable)
	_, err = book.Find(t.Context(), made.Token)
	require.NoError(t, err, "from memory")
}

// A purchase whose check characters are not of this minter is served: it came
// from an import, or was made before the key was.
func TestFindDoesNotAskTheCheck(t *testing.T) {
	book, e := newBook(t, record.NewClock(nil))
	token := purchase.Token("120161120a7ch2nx9djn")
	require.False(t, book.Plausible(token))
	e.Inject(record.Record{
		Topic: record.Purchase, Key: string(token), Source: "import", Time: 1, Revision: 1, Expires: 4_000_000_000_000,
		Value: []byte(`{"hash":"a03f181dc7dedcfb577511149b8844711efdb04f","ext":"mp4","made":"1","referrer":["(?=x)"]}`),
	})
	p, err := book.Find(t.Context(), token)
	require.NoError(t, err)
	require.Equal(t, int64(4_000_000_000_000), p.Expires, "the record's, where the value has none")
	require.ErrorIs(t, p.Allows(time.Now(), "x", netip.Addr{}), purchase.ErrReferrerRefused, "a pattern that does not compile lets nobody through")
}

func TestFindCorruptRecord(t *testing.T) {
	book, e := newBook(t, record.NewClock(nil))
	e.Inject(record.Record{Topic: record.Purchase, Key: "a20261120a7ch2nx9djn", Source: "b", Time: 1, Revision: 1, Value: []byte(`{"hash":1}`)})
	_, err := book.Find(t.Context(), "a20261120a7ch2nx9djn")
	require.Error(t, err)
	require.NotErrorIs(t, err, purchase.ErrUnknown)
	require.NotContains(t, err.Error(), "a7ch2nx9djn")
}

func TestPlausible(t *testing.T) {
	w := &wall{time.Date(2026, 11, 20, 23, 59, 30, 0, time.UTC)}
	clock := record.NewClock(w.now)
	book, _ := newBook(t, clock)
	today := newMinter(t, clock).Mint()
	require.True(t, book.Plausible(today))
	tomorrow := newMinter(t, clockAt("2026-11-21 00:00:00")).Mint()
	require.True(t, book.Plausible(tomorrow), "another clock is half a minute ahead")
	later := newMinter(t, clockAt("2026-11-22 00:00:00")).Mint()
	require.False(t, book.Plausible(later))
}

func TestUpdate(t *testing.T) {
	w := &wall{time.UnixMilli(1_795_000_000_000)}
	book, _ := newBook(t, record.NewClock(w.now))
	s := spec()
	s.Referrer, s.IP = []string{"a"}, []string{"203.0.113.9"}
	made, _, err := book.Make(t.Context(), s)
	require.NoError(t, err)

	w.at = w.at.Add(2 * time.Hour) // expired meanwhile
	life := time.Minute
	p, err := book.Update(t.Context(), made.Token, purchase.Patch{Life: &life})
	require.NoError(t, err)
	require.Equal(t, w.at.Add(time.Minute).UnixMilli(), p.Expires)
	require.Equal(t, []string{"a"}, p.Referrer)
	require.Equal(t, made.IP, p.IP)
	require.Equal(t, made.Made, p.Made)

	p, err = book.Update(t.Context(), made.Token, purchase.Patch{Referrer: []string{"b"}, IP: []string{}})
	require.NoError(t, err)
	require.Equal(t, []string{"b"}, p.Referrer)
	require.Empty(t, p.IP)
	require.Equal(t, w.at.Add(time.Minute).UnixMilli(), p.Expires)

	p, err = book.Update(t.Context(), made.Token, purchase.Patch{Referrer: []string{}})
	require.NoError(t, err)
	require.NoError(t, p.Allows(w.at, "", netip.Addr{}))

	found, err := book.Find(t.Context(), made.Token)
	require.NoError(t, err)
	require.Equal(t, p, found)
	require.NotEqual(t, made.Expires, found.Expires)

	for _, c := range []struct {
		patch purchase.Patch
		want  error
	}{
		{purchase.Patch{Referrer: []string{"("}}, purchase.ErrInvalidReferrer},
		{purchase.Patch{IP: []string{"x"}}, purchase.ErrInvalidAddress},
		{purchase.Patch{Life: new(time.Duration)}, purchase.ErrInvalidLife},
	} {
		_, err := book.Update(t.Context(), made.Token, c.patch)
		require.ErrorIs(t, err, c.want)
	}
	_, err = book.Update(t.Context(), "a20261120a7ch2nx9djn", purchase.Patch{})
	require.ErrorIs(t, err, purchase.ErrUnknown)
}

// A life that was made shorter does not come back with who was cut off
// meanwhile: the change is kept for as long as what it changed.
func TestShortenedLifeIsKept(t *testing.T) {
	w := &wall{time.UnixMilli(1_795_000_000_000)}
	book, e := newBook(t, record.NewClock(w.now))
	s := spec()
	s.Life = 30 * 24 * time.Hour
	made, _, err := book.Make(t.Context(), s)
	require.NoError(t, err)
	elsewhere, err := e.Get(t.Context(), record.Purchase, string(made.Token))
	require.NoError(t, err)
	elsewhere[0].Source = "cut off"
	begin := w.at
	for _, life := range []time.Duration{2 * time.Minute, time.Minute} {
		p, err := book.Update(t.Context(), made.Token, purchase.Patch{Life: &life})
		require.NoError(t, err)
		require.Equal(t, begin.Add(life).UnixMilli(), p.Expires)
	}
	w.at = begin.Add(29 * 24 * time.Hour)
	e.Expire(w.at)
	e.Inject(elsewhere...)
	p, err := book.Find(t.Context(), made.Token)
	require.NoError(t, err)
	require.ErrorIs(t, p.Allows(w.at, "", netip.Addr{}), purchase.ErrExpired)
	e.Expire(made.ExpiresAt().Add(time.Hour))
	_, err = book.Find(t.Context(), made.Token)
	require.ErrorIs(t, err, purchase.ErrUnknown)

	longer, _, err := book.Make(t.Context(), spec())
	require.NoError(t, err)
	_, err = book.Update(t.Context(), longer.Token, purchase.Patch{Life: &s.Life})
	require.NoError(t, err)
	e.Expire(w.at.Add(s.Life + time.Hour - time.Second))
	_, err = book.Find(t.Context(), longer.Token)
	require.NoError(t, err)
	e.Expire(w.at.Add(s.Life + time.Hour))
	_, err = book.Find(t.Context(), longer.Token)
	require.ErrorIs(t, err, purchase.ErrUnknown)
}

func TestRevoke(t *testing.T) {
	w := &wall{time.UnixMilli(1_795_000_000_000)}
	book, e := newBook(t, record.NewClock(w.now))
	made, _, err := book.Make(t.Context(), spec())
	require.NoError(t, err)
	_, err = book.Find(t.Context(), made.Token)
	require.NoError(t, err)

	require.NoError(t, book.Revoke(t.Context(), made.Token))
	_, err = book.Find(t.Context(), made.Token)
	require.ErrorIs(t, err, purchase.ErrRevoked)
	require.ErrorIs(t, err, purchase.ErrUnknown)
	require.ErrorIs(t, book.Revoke(t.Context(), made.Token), purchase.ErrUnknown)
	require.ErrorIs(t, book.Revoke(t.Context(), "a20261120a7ch2nx9djn"), purchase.ErrUnknown)
	life := time.Hour
	_, err = book.Update(t.Context(), made.Token, purchase.Patch{Life: &life})
	require.ErrorIs(t, err, purchase.ErrRevoked)

	// An old replica that still has it, with a later time, brings nothing back.
	e.Inject(record.Record{Topic: record.Purchase, Key: string(made.Token), Source: "replica", Revision: 1, Expires: made.Expires,
		Time:  record.TimeOf(w.at.Add(time.Hour)),
		Value: []byte(`{"hash":"a03f181dc7dedcfb577511149b8844711efdb04f","ext":"mp4","expires":4000000000000}`)})
	_, err = book.Find(t.Context(), made.Token)
	require.ErrorIs(t, err, purchase.ErrRevoked)

	// It outlives the expiry by 30 days.
	e.Expire(made.ExpiresAt().Add(29 * 24 * time.Hour))
	_, err = book.Find(t.Context(), made.Token)
	require.ErrorIs(t, err, purchase.ErrRevoked)
	e.Expire(made.ExpiresAt().Add(30 * 24 * time.Hour))
	_, err = book.Find(t.Context(), made.Token)
	require.ErrorIs(t, err, purchase.ErrUnknown)
	require.NotErrorIs(t, err, purchase.ErrRevoked)
}

func TestExpiredIsFoundForAnHour(t *testing.T) {
	w := &wall{time.UnixMilli(1_795_000_000_000)}
	book, e := newBook(t, record.NewClock(w.now))
	made, _, err := book.Make(t.Context(), spec())
	require.NoError(t, err)
	e.Expire(made.ExpiresAt().Add(59 * time.Minute))
	p, err := book.Find(t.Context(), made.Token)
	require.NoError(t, err)
	require.ErrorIs(t, p.Allows(made.ExpiresAt(), "", netip.Addr{}), purchase.ErrExpired)
	e.Expire(made.ExpiresAt().Add(time.Hour))
	_, err = book.Find(t.Context(), made.Token)
	require.ErrorIs(t, err, purchase.ErrUnknown, "though it was in memory")
}

// Versions by several sources: the later one holds, whichever came first.
func TestVersionsMerge(t *testing.T) {
	w := &wall{time.UnixMilli(1_795_000_000_000)}
	book, e := newBook(t, record.NewClock(w.now))
	made, ack, err := book.Make(t.Context(), spec())
	require.NoError(t, err)
	other := func(source string, at record.Time, revision uint64, expires int64, final bool) {
		value, err := json.Marshal(map[string]any{"hash": fox, "ext": "webm", "made": made.Made, "expires": expires})
		require.NoError(t, err)
		e.Inject(record.Record{Topic: record.Purchase, Key: string(made.Token), Source: source, Time: at, Revision: revision, Expires: expires, Final: final, Value: value})
	}
	ext := func() string {
		p, err := book.Find(t.Context(), made.Token)
		require.NoError(t, err)
		return p.Ext
	}
	other("b", ack.Time-1, 1, made.Expires, false)
	require.Equal(t, "mp4", ext())
	other("b", ack.Time+1, 2, made.Expires, false)
	require.Equal(t, "webm", ext())

	p, err := book.Update(t.Context(), made.Token, purchase.Patch{Referrer: []string{"x"}})
	require.NoError(t, err)
	require.Equal(t, "webm", p.Ext, "a change keeps what the others said last")

	other("c", 1, 1, made.Expires, true) // earlier than all, and final
	_, err = book.Find(t.Context(), made.Token)
	require.ErrorIs(t, err, purchase.ErrRevoked)
}

// Many change and one revokes: nobody's change survives the revocation.
func TestRevokeAmongUpdates(t *testing.T) {
	book, _ := newBook(t, record.NewClock(nil))
	made, _, err := book.Make(t.Context(), spec())
	require.NoError(t, err)
	var wait sync.WaitGroup
	for i := range 4 {
		wait.Go(func() {
			for k := range 20 {
				_, err := book.Update(context.Background(), made.Token, purchase.Patch{Referrer: []string{fmt.Sprint(i, k)}})
				if err != nil {
					return
				}
			}
		})
	}
	for err = record.ErrConflict; err != nil; {
		if err = book.Revoke(t.Context(), made.Token); err != nil {
			require.ErrorIs(t, err, record.ErrConflict)
		}
	}
	_, err = book.Find(t.Context(), made.Token)
	require.ErrorIs(t, err, purchase.ErrRevoked)
	wait.Wait()
	_, err = book.Find(t.Context(), made.Token)
	require.ErrorIs(t, err, purchase.ErrRevoked)
}

func BenchmarkFind(b *testing.B) {
	book, _ := newBook(b, record.NewClock(nil))
	p, _, err := book.Make(b.Context(), spec())
	require.NoError(b, err)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := book.Find(b.Context(), p.Token); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkAllows(b *testing.B) {
	book, _ := newBook(b, record.NewClock(nil))
	s := spec()
	s.Referrer, s.IP = []string{`^https://(www\.)?shop\.example/`}, []string{"203.0.113.0/24"}
	p, _, err := book.Make(b.Context(), s)
	require.NoError(b, err)
	client, now := netip.MustParseAddr("203.0.113.9"), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Allows(now, "https://www.shop.example/videos/1", client); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMint(b *testing.B) {
	m := newMinter(b, record.NewClock(nil))
	b.ReportAllocs()
	for b.Loop() {
		m.Mint()
	}
}

func BenchmarkCheck(b *testing.B) {
	m := newMinter(b, record.NewClock(nil))
	token := m.Mint()
	b.ReportAllocs()
	for b.Loop() {
		m.Check(token)
	}
}

func BenchmarkParseToken(b *testing.B) {
	for b.Loop() {
		if _, err := purchase.ParseToken("a20261120a7ch2nx9djn"); err != nil {
			b.Fatal(err)
		}
	}
}
