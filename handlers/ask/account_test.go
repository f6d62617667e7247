package ask

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/ooseio/oose/account"
	"github.com/ooseio/oose/record"
)

// Who logged in at one prism is known to the others at once, and a user made at
// one can log in at all.
func TestSessionsAndUsers(t *testing.T) {
	w := prisms(t, "a=x", "b=y", "c=w")
	clients := netip.MustParseAddr("203.0.113.1")
	hash, err := bcrypt.GenerateFromPassword([]byte("secret word"), bcrypt.MinCost)
	require.NoError(t, err)
	sessions, people := map[string]*account.Sessions{}, map[string]*account.Users{}
	for name, n := range w.nodes {
		users := account.NewUsers(n.asker.Engine(), n.clock, nil, nil)
		t.Cleanup(users.Close)
		people[name] = users
		sessions[name] = account.NewSessions(n.asker.Engine(), users, func() time.Duration { return time.Hour }, n.clock, nil)
		t.Cleanup(sessions[name].Close)
	}
	_, err = w.nodes["a"].engine.Update(t.Context(), record.User, "alice", record.Condition{}, record.Change{Value: []byte(`{"hash":"` + string(hash) + `"}`)})
	require.NoError(t, err)
	s, err := sessions["b"].Login(t.Context(), "alice", "secret word", clients)
	require.NoError(t, err)
	for _, name := range []string{"a", "c"} {
		found, err := sessions[name].Validate(t.Context(), s.Token)
		require.NoError(t, err)
		require.Equal(t, "alice", found.User)
	}
	require.NoError(t, sessions["c"].Logout(t.Context(), s.Token))

	_, err = sessions["b"].Validate(t.Context(), "invented")
	require.ErrorIs(t, err, account.ErrNoSession)
	_, err = people["b"].Find(t.Context(), "bob")
	require.ErrorIs(t, err, account.ErrUnknownUser)
	w.nodes["c"].set(func() { w.nodes["c"].state.err = errDown })
	_, err = sessions["b"].Validate(t.Context(), "invented too")
	require.ErrorIs(t, err, record.ErrUnavailable, "c may have begun it")
	require.NotErrorIs(t, err, account.ErrNoSession)
	_, err = people["b"].Find(t.Context(), "carol")
	require.ErrorIs(t, err, record.ErrUnavailable, "c may have made her")
}

// A node without a prism makes no sessions, and is not asked about them.
func TestStoresAreNotAskedForSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := stores(t, "s1", "s2")
		_, err := w.nodes["prism"].asker.Engine().Get(t.Context(), record.Session, "x")
		require.NoError(t, err)
		require.Zero(t, w.nodes["s1"].questions())
	})
}
