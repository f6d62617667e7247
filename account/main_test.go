package account_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/crypto/bcrypt"

	"github.com/ooseio/oose/account"
	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func hashOf(t testing.TB, password string) string {
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	require.NoError(t, err)
	return string(h)
}

func newUsers(t testing.TB, clock *record.Clock, declared map[string]string) (*account.Users, *recordtest.Memory) {
	e := recordtest.NewMemory(clock)
	u := account.NewUsers(e, clock, declared, nil)
	u.Cheapen()
	t.Cleanup(u.Close)
	return u, e
}
