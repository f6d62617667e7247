package account_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/ooseio/oose/account"
	"github.com/ooseio/oose/record"
)

var (
	here  = netip.MustParseAddr("203.0.113.1")
	there = netip.MustParseAddr("203.0.113.2")
)

func TestUsers(t *testing.T) {
	users, _ := newUsers(t, record.NewClock(nil), map[string]string{"root": hashOf(t, "toor")})
	ctx := t.Context()
	require.NoError(t, users.Set(ctx, "alice", "secret"))
	require.NoError(t, users.Verify(ctx, "alice", "secret", here))
	require.NoError(t, users.Verify(ctx, "alice", "secret", here), "remembered")
	require.NoError(t, users.Verify(ctx, "root", "toor", here))
	for _, c := range [][2]string{{"alice", "Secret"}, {"alice", ""}, {"root", "secret"}, {"bob", "secret"}, {"", "secret"}, {"a/b", "x"}, {"\x00", "x"}} {
		require.ErrorIs(t, users.Verify(ctx, c[0], c[1], here), account.ErrBadLogin, c)
	}

	require.NoError(t, users.Set(ctx, "alice", "changed"))
	require.ErrorIs(t, users.Verify(ctx, "alice", "secret", here), account.ErrBadLogin, "though it was remembered")
	require.NoError(t, users.Verify(ctx, "alice", "changed", here))

	list, err := users.List(ctx)
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, "alice", list[0].Name)
	require.False(t, list[0].Declared)
	require.NotZero(t, list[0].Changed)
	require.Equal(t, account.User{Name: "root", Declared: true}, list[1])
	one, err := users.Find(ctx, "alice")
	require.NoError(t, err)
	require.Equal(t, list[0], one)
	_, err = users.Find(ctx, "bob")
	require.ErrorIs(t, err, account.ErrUnknownUser)
	_, err = users.Find(ctx, "\x00")
	require.ErrorIs(t, err, account.ErrUnknownUser)

	require.NoError(t, users.Remove(ctx, "alice"))
	require.ErrorIs(t, users.Remove(ctx, "alice"), account.ErrUnknownUser)
	require.ErrorIs(t, users.Verify(ctx, "alice", "changed", here), account.ErrBadLogin)
	list, err = users.List(ctx)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.NoError(t, users.Set(ctx, "alice", "again"))
	require.NoError(t, users.Verify(ctx, "alice", "again", here))
}

func TestSetRefuses(t *testing.T) {
	users, e := newUsers(t, record.NewClock(nil), map[string]string{"root": hashOf(t, "toor")})
	for _, c := range []struct {
		name, password string
		want           error
	}{
		{"root", "x", account.ErrDeclared},
		{"", "x", account.ErrInvalidName},
		{"a/b", "x", account.ErrInvalidName},
		{"a:b", "x", account.ErrInvalidName},
		{"a\nb", "x", account.ErrInvalidName},
		{"\xff", "x", account.ErrInvalidName},
		{strings.Repeat("a", 129), "x", account.ErrInvalidName},
		{"alice", "", account.ErrInvalidPassword},
		{"alice", strings.Repeat("a", 73), account.ErrInvalidPassword},
	} {
		require.ErrorIs(t, users.Set(t.Context(), c.name, c.password), c.want)
	}
	require.ErrorContains(t, users.Set(t.Context(), "alice", strings.Repeat("ä", 37)), "72 bytes, this one has 74")
	require.ErrorIs(t, users.Remove(t.Context(), "root"), account.ErrDeclared)
	require.NoError(t, users.Set(t.Context(), strings.Repeat("a", 128), strings.Repeat("a", 72)))
	e.Fail(record.ErrUnavailable)
	require.ErrorIs(t, users.Set(t.Context(), "alice", "x"), record.ErrUnavailable)
	require.ErrorIs(t, users.Verify(t.Context(), "alice", "x", here), record.ErrUnavailable)
}

// bcrypt looks at 72 bytes: what only begins like the password is not it.
func TestLongPassword(t *testing.T) {
	users, _ := newUsers(t, record.NewClock(nil), nil)
	password := strings.Repeat("a", 72)
	require.NoError(t, users.Set(t.Context(), "alice", password))
	require.NoError(t, users.Verify(t.Context(), "alice", password, here))
	require.ErrorIs(t, users.Verify(t.Context(), "alice", password+"b", here), account.ErrBadLogin)
}

func TestDeclaredUsersAreReplaced(t *testing.T) {
	users, _ := newUsers(t, record.NewClock(nil), map[string]string{"root": hashOf(t, "toor")})
	require.NoError(t, users.Set(t.Context(), "alice", "kept"))
	users.SetDeclared(map[string]string{"alice": hashOf(t, "declared"), "broken": "x"})
	require.ErrorIs(t, users.Verify(t.Context(), "root", "toor", here), account.ErrBadLogin)
	require.ErrorIs(t, users.Verify(t.Context(), "alice", "kept", here), account.ErrBadLogin)
	require.NoError(t, users.Verify(t.Context(), "alice", "declared", here))
	require.ErrorIs(t, users.Verify(t.Context(), "broken", "x", here), account.ErrBadLogin)
	users.SetDeclared(nil)
	require.NoError(t, users.Verify(t.Context(), "alice", "kept", here))
}

// Versions of several sources: the later one holds, a removal among them.
func TestUserVersionsMerge(t *testing.T) {
	clock := record.NewClock(nil)
	users, e := newUsers(t, clock, nil)
	require.NoError(t, users.Set(t.Context(), "alice", "here"))
	later := clock.Next()
	e.Inject(record.Record{Topic: record.User, Key: "alice", Source: "b", Time: 1, Revision: 1, Value: []byte(`{"hash":"` + hashOf(t, "old") + `"}`)})
	require.NoError(t, users.Verify(t.Context(), "alice", "here", here))
	e.Inject(record.Record{Topic: record.User, Key: "alice", Source: "b", Time: later, Revision: 2, Value: []byte(`{"hash":"` + hashOf(t, "there") + `"}`)})
	require.NoError(t, users.Verify(t.Context(), "alice", "there", here))
	require.ErrorIs(t, users.Verify(t.Context(), "alice", "here", here), account.ErrBadLogin)
	e.Inject(record.Record{Topic: record.User, Key: "alice", Source: "c", Time: clock.Next(), Revision: 1, Deleted: true})
	require.ErrorIs(t, users.Verify(t.Context(), "alice", "there", here), account.ErrBadLogin)
	require.NoError(t, users.Set(t.Context(), "alice", "again"))
	require.NoError(t, users.Verify(t.Context(), "alice", "again", here))
}

// Ten wrong passwords from an address in a minute, then none are looked at,
// not even right ones, but for those that are remembered.
func TestFailuresAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		users, _ := newUsers(t, record.NewClock(nil), nil)
		ctx := t.Context()
		require.NoError(t, users.Set(ctx, "alice", "secret"))
		require.NoError(t, users.Set(ctx, "bob", "secret"))
		require.NoError(t, users.Verify(ctx, "alice", "secret", here))
		for i := range 10 {
			require.ErrorIs(t, users.Verify(ctx, []string{"alice", "nobody"}[i%2], "guess", here), account.ErrBadLogin)
		}
		time.Sleep(20 * time.Second)
		err := users.Verify(ctx, "bob", "secret", here)
		require.ErrorIs(t, err, account.ErrTooMany)
		require.NotErrorIs(t, err, account.ErrBadLogin)
		require.Equal(t, 40*time.Second, account.RetryAfter(err))
		require.NoError(t, users.Verify(ctx, "alice", "secret", here), "remembered")
		require.ErrorIs(t, users.Verify(ctx, "bob", "guess", there), account.ErrBadLogin, "another address")
		require.NoError(t, users.Verify(ctx, "bob", "secret", there))
		time.Sleep(40 * time.Second)
		require.ErrorIs(t, users.Verify(ctx, "bob", "guess", here), account.ErrBadLogin)
		require.Zero(t, account.RetryAfter(nil))
	})
}

func TestFailuresAreThoseOfANetwork(t *testing.T) {
	users, _ := newUsers(t, record.NewClock(nil), nil)
	require.NoError(t, users.Set(t.Context(), "alice", "secret"))
	for i := range 10 {
		addr := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i)})
		require.ErrorIs(t, users.Verify(t.Context(), "alice", "guess", addr), account.ErrBadLogin)
	}
	require.ErrorIs(t, users.Verify(t.Context(), "alice", "secret", netip.MustParseAddr("2001:db8::99")), account.ErrTooMany)
	require.NoError(t, users.Verify(t.Context(), "alice", "secret", netip.MustParseAddr("2001:db8:0:1::99")))
	for range 10 {
		require.ErrorIs(t, users.Verify(t.Context(), "alice", "guess", netip.Addr{}), account.ErrBadLogin)
	}
	require.ErrorIs(t, users.Verify(t.Context(), "alice", "guess", netip.Addr{}), account.ErrTooMany)
}

// Right passwords are no failures, however many come at once.
func TestRightPasswordsAtOnce(t *testing.T) {
	users, _ := newUsers(t, record.NewClock(nil), nil)
	require.NoError(t, users.Set(t.Context(), "alice", "secret"))
	errs := make(chan error, 64)
	for range cap(errs) {
		go func() { errs <- users.Verify(context.Background(), "alice", "secret", here) }()
	}
	for range cap(errs) {
		require.NoError(t, <-errs)
	}
}

func TestRememberedForTenMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		users, _ := newUsers(t, record.NewClock(nil), nil)
		ctx := t.Context()
		require.NoError(t, users.Set(ctx, "alice", "secret"))
		require.NoError(t, users.Verify(ctx, "alice", "secret", here))
		time.Sleep(9 * time.Minute)
		for range 10 {
			require.ErrorIs(t, users.Verify(ctx, "alice", "guess", here), account.ErrBadLogin)
		}
		require.NoError(t, users.Verify(ctx, "alice", "secret", here))
		time.Sleep(59 * time.Second) // the limit goes a second later than the memory
		for range 10 {
			require.Error(t, users.Verify(ctx, "alice", "guess", here))
		}
		time.Sleep(time.Second)
		for range 10 {
			require.Error(t, users.Verify(ctx, "alice", "guess", here))
		}
		require.ErrorIs(t, users.Verify(ctx, "alice", "secret", here), account.ErrTooMany)
	})
}

func TestVerifyEndsWithItsContext(t *testing.T) {
	users, _ := newUsers(t, record.NewClock(nil), map[string]string{"root": hashOf(t, "toor")})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 {
		require.ErrorIs(t, users.Verify(ctx, "root", "toor", here), context.Canceled)
	}
	require.NoError(t, users.Verify(t.Context(), "root", "toor", here), "no failure was booked")
}

// A hash for those who don't exist costs what another does, and no password has it.
func TestDummyHash(t *testing.T) {
	for _, hash := range []string{hashOf(t, "x"), "$2a$05$", "$2y$06$abc"} {
		dummy := account.DummyOf(hash)
		require.NoError(t, account.CheckHash(dummy))
		require.ErrorIs(t, bcrypt.CompareHashAndPassword([]byte(dummy), []byte("x")), bcrypt.ErrMismatchedHashAndPassword)
		cost, err := bcrypt.Cost([]byte(dummy))
		require.NoError(t, err)
		want, err := bcrypt.Cost([]byte(hash + strings.Repeat("O", 60)))
		require.NoError(t, err)
		require.Equal(t, want, cost)
	}
	require.NoError(t, account.CheckHash(account.DummyOf("")))
}

func TestBasic(t *testing.T) {
	_, err := account.NewBasic("oose", "not a hash")
	require.ErrorIs(t, err, account.ErrInvalidHash)
	basic, err := account.NewBasic("oose", hashOf(t, "blah"))
	require.NoError(t, err)
	require.Equal(t, "oose", basic.User())
	ctx := t.Context()
	require.NoError(t, basic.Check(ctx, "oose", "blah", here))
	for _, c := range [][2]string{{"oose", "blah1"}, {"oose1", "blah"}, {"", ""}, {"oose", ""}, {"OOSE", "blah"}} {
		require.ErrorIs(t, basic.Check(ctx, c[0], c[1], here), account.ErrBadLogin, c)
	}
	for range 5 {
		require.ErrorIs(t, basic.Check(ctx, "oose", "guess", here), account.ErrBadLogin)
	}
	require.ErrorIs(t, basic.Check(ctx, "oose", "guess", here), account.ErrTooMany)
	require.NoError(t, basic.Check(ctx, "oose", "blah", here))
}

func BenchmarkVerifyRemembered(b *testing.B) {
	users, _ := newUsers(b, record.NewClock(nil), nil)
	require.NoError(b, users.Set(b.Context(), "alice", "secret"))
	b.ReportAllocs()
	for b.Loop() {
		if err := users.Verify(b.Context(), "alice", "secret", here); err != nil {
			b.Fatal(err)
		}
	}
}
