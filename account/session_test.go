package account_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/account"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

func day() time.Duration { return 24 * time.Hour }

// world is users and sessions over one engine, with the user alice.
type world struct {
	*account.Sessions
	users  *account.Users
	engine *recordtest.Memory
}

func newWorld(t testing.TB, declared, keys map[string]string) world {
	clock := record.NewClock(nil)
	users, e := newUsers(t, clock, declared)
	require.NoError(t, users.Set(context.Background(), "alice", "secret"))
	s := account.NewSessions(e, users, day, clock, keys)
	t.Cleanup(s.Close)
	return world{s, users, e}
}

func (w world) login(t testing.TB, user, password string) *account.Session {
	session, err := w.Login(context.Background(), user, password, here)
	require.NoError(t, err)
	return session
}

func TestLogin(t *testing.T) {
	w := newWorld(t, nil, nil)
	_, err := w.Login(t.Context(), "alice", "guess", here)
	require.ErrorIs(t, err, account.ErrBadLogin)

	session := w.login(t, "alice", "secret")
	require.Len(t, session.Token, 43)
	require.Equal(t, "alice", session.User)
	require.Equal(t, "203.0.113.1", session.IP)
	require.JSONEq(t, "{}", string(session.Data))
	require.InDelta(t, time.Now().Add(day()).UnixMilli(), session.Expires, 60_000)
	require.NotEqual(t, session.Token, w.login(t, "alice", "secret").Token)

	found, err := w.Validate(t.Context(), session.Token)
	require.NoError(t, err)
	require.Equal(t, session, found)

	changed := []byte(session.Token)
	changed[7] ^= 1
	for _, token := range []string{"", "x", string(changed), session.Token + "A", strings.Repeat("a", 1000), "\x00", "YWxpY2U6NkIwMDM3Nzk6RkND"} {
		_, err := w.Validate(t.Context(), token)
		require.ErrorIs(t, err, account.ErrNoSession)
	}
	for r, err := range w.engine.Walk(t.Context(), nil) {
		require.NoError(t, err)
		require.NotContains(t, r.Key+string(r.Value), session.Token, "no record holds a token")
	}
	w.engine.Fail(record.ErrUnavailable)
	_, err = w.Validate(t.Context(), strings.Repeat("a", 43))
	require.ErrorIs(t, err, record.ErrUnavailable)
	require.NotErrorIs(t, err, account.ErrNoSession)
}

func TestSessionEndsAfterItsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		session := w.login(t, "alice", "secret")
		time.Sleep(23 * time.Hour)
		updated, err := w.Update(t.Context(), session.Token, json.RawMessage(`{"a":1}`))
		require.NoError(t, err)
		require.Equal(t, session.Expires, updated.Expires, "its life is fixed from the login")
		time.Sleep(time.Hour - time.Millisecond)
		_, err = w.Validate(t.Context(), session.Token)
		require.NoError(t, err)
		time.Sleep(time.Millisecond)
		_, err = w.Validate(t.Context(), session.Token)
		require.ErrorIs(t, err, account.ErrNoSession)
		_, err = w.Update(t.Context(), session.Token, nil)
		require.ErrorIs(t, err, account.ErrNoSession)
	})
}

func TestUpdateData(t *testing.T) {
	w := newWorld(t, nil, nil)
	session := w.login(t, "alice", "secret")
	for _, c := range []struct{ data, want string }{
		{`{ "a" : [ 1, 2 ] }`, `{"a":[1,2]}`}, {``, `{}`}, {` null `, `{}`}, {`{}`, `{}`},
		{`{"big":9007199254740993}`, `{"big":9007199254740993}`},
	} {
		updated, err := w.Update(t.Context(), session.Token, json.RawMessage(c.data))
		require.NoError(t, err)
		require.Equal(t, c.want, string(updated.Data))
		found, err := w.Validate(t.Context(), session.Token)
		require.NoError(t, err)
		require.Equal(t, updated, found)
	}
	for _, data := range []string{`[1]`, `"x"`, `5`, `{`, `{"a"}`, `{"a":"` + strings.Repeat("x", account.MaxData) + `"}`, "{}{}"} {
		_, err := w.Update(t.Context(), session.Token, json.RawMessage(data))
		require.ErrorIs(t, err, account.ErrInvalidData, "%.20s", data)
	}
	_, err := w.Update(t.Context(), session.Token, json.RawMessage(`{"a":"`+strings.Repeat("<", account.MaxData-8)+`"}`))
	require.NoError(t, err, "HTML's escapes leave it within a record's bounds or are not made")
}

func TestLogout(t *testing.T) {
	w := newWorld(t, nil, nil)
	session, other := w.login(t, "alice", "secret"), w.login(t, "alice", "secret")
	_, err := w.Validate(t.Context(), session.Token)
	require.NoError(t, err)
	require.NoError(t, w.Logout(t.Context(), session.Token))
	for range 2 {
		_, err = w.Validate(t.Context(), session.Token)
		require.ErrorIs(t, err, account.ErrNoSession)
		require.ErrorIs(t, w.Logout(t.Context(), session.Token), account.ErrNoSession)
	}
	_, err = w.Validate(t.Context(), other.Token)
	require.NoError(t, err)

	// A replica's later version brings nothing back.
	var ended record.Record
	for r, err := range w.engine.List(t.Context(), record.Session, record.ByKey, "", "") {
		require.NoError(t, err)
		if r.Final {
			ended = r
		}
	}
	require.NotEmpty(t, ended.Key)
	ended.Source, ended.Final, ended.Time = "replica", false, ended.Time+1<<32
	w.engine.Inject(ended)
	_, err = w.Validate(t.Context(), session.Token)
	require.ErrorIs(t, err, account.ErrNoSession)
}

func TestSessionsEndWithTheirUser(t *testing.T) {
	for name, end := range map[string]func(*testing.T, world){
		"removed":       func(t *testing.T, w world) { require.NoError(t, w.users.Remove(t.Context(), "alice")) },
		"new password":  func(t *testing.T, w world) { require.NoError(t, w.users.Set(t.Context(), "alice", "changed")) },
		"same password": func(t *testing.T, w world) { require.NoError(t, w.users.Set(t.Context(), "alice", "secret")) },
		"made again": func(t *testing.T, w world) {
			require.NoError(t, w.users.Remove(t.Context(), "alice"))
			require.NoError(t, w.users.Set(t.Context(), "alice", "secret"))
		},
		"declared since": func(t *testing.T, w world) {
			w.users.SetDeclared(map[string]string{"alice": hashOf(t, "secret")})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil, nil)
			session := w.login(t, "alice", "secret")
			_, err := w.Validate(t.Context(), session.Token)
			require.NoError(t, err)
			end(t, w)
			_, err = w.Validate(t.Context(), session.Token)
			require.ErrorIs(t, err, account.ErrNoSession)
		})
	}
}

func TestSessionsOfDeclaredUsers(t *testing.T) {
	hash := hashOf(t, "toor")
	w := newWorld(t, map[string]string{"root": hash}, nil)
	session := w.login(t, "root", "toor")
	valid := func() bool {
		_, err := w.Validate(t.Context(), session.Token)
		return err == nil
	}
	require.True(t, valid())
	w.users.SetDeclared(map[string]string{"root": hash, "other": hash})
	require.True(t, valid(), "the user is still the same")
	w.users.SetDeclared(map[string]string{"root": hashOf(t, "toor")})
	require.False(t, valid(), "hashed anew")
	w.users.SetDeclared(nil)
	require.False(t, valid(), "not declared any longer")
	require.NoError(t, w.users.Set(t.Context(), "root", "toor"))
	require.False(t, valid(), "another user of that name")

	w.users.SetDeclared(map[string]string{"root": hash})
	_, err := w.ResetPassword(t.Context(), w.login(t, "root", "toor").Token)
	require.ErrorIs(t, err, account.ErrDeclared)
}

func TestResetPassword(t *testing.T) {
	w := newWorld(t, nil, map[string]string{"the key": "alice", "another": "nobody"})
	session := w.login(t, "alice", "secret")
	password, err := w.ResetPassword(t.Context(), session.Token)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(password), 20)
	_, err = w.Validate(t.Context(), session.Token)
	require.ErrorIs(t, err, account.ErrNoSession)
	_, err = w.Login(t.Context(), "alice", "secret", here)
	require.ErrorIs(t, err, account.ErrBadLogin)
	w.login(t, "alice", password)

	again, err := w.ResetPassword(t.Context(), "the key")
	require.NoError(t, err)
	require.NotEqual(t, password, again)
	_, err = w.ResetPassword(t.Context(), "another")
	require.ErrorIs(t, err, account.ErrUnknownUser)
	_, err = w.ResetPassword(t.Context(), "x")
	require.ErrorIs(t, err, account.ErrNoSession)
}

func TestSessionsOfTheConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, map[string]string{"the key": "deploy", "": "nobody"})
		time.Sleep(10_000 * time.Hour)
		session, err := w.Validate(t.Context(), "the key")
		require.NoError(t, err)
		require.Equal(t, &account.Session{Token: "the key", User: "deploy", Data: json.RawMessage("{}"), Static: true}, session)
		for _, token := range []string{"", "the kez", "the ke"} {
			_, err := w.Validate(t.Context(), token)
			require.ErrorIs(t, err, account.ErrNoSession)
		}
		require.ErrorIs(t, w.Logout(t.Context(), "the key"), account.ErrDeclared)
		_, err = w.Update(t.Context(), "the key", nil)
		require.ErrorIs(t, err, account.ErrDeclared)
		w.SetKeys(nil)
		_, err = w.Validate(t.Context(), "the key")
		require.ErrorIs(t, err, account.ErrNoSession)
	})
}

// Many update and one logs out: no update survives it.
func TestLogoutAmongUpdates(t *testing.T) {
	w := newWorld(t, nil, nil)
	session := w.login(t, "alice", "secret")
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for range 20 {
				if _, err := w.Update(context.Background(), session.Token, json.RawMessage(`{"a":1}`)); err != nil {
					return
				}
			}
		})
	}
	for err := record.ErrConflict; err != nil; {
		if err = w.Logout(t.Context(), session.Token); err != nil {
			require.ErrorIs(t, err, record.ErrConflict)
		}
	}
	wait.Wait()
	_, err := w.Validate(t.Context(), session.Token)
	require.ErrorIs(t, err, account.ErrNoSession)
}

func BenchmarkValidate(b *testing.B) {
	w := newWorld(b, nil, nil)
	token := w.login(b, "alice", "secret").Token
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := w.Validate(b.Context(), token); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
