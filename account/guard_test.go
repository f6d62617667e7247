package account_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/account"
	"github.com/ooseio/oose/record"
)

// Many guesses at the same time get no further than one after the other.
func TestGuessesAtOnce(t *testing.T) {
	users, _ := newUsers(t, record.NewClock(nil), nil)
	require.NoError(t, users.Set(t.Context(), "alice", "secret"))
	errs := make(chan error, 100)
	for i := range cap(errs) {
		go func() { errs <- users.Verify(context.Background(), "alice", fmt.Sprint("guess", i), here) }()
	}
	looked := 0
	for range cap(errs) {
		err := <-errs
		if errors.Is(err, account.ErrBadLogin) {
			looked++
			continue
		}
		require.ErrorIs(t, err, account.ErrTooMany)
	}
	require.Equal(t, 10, looked)
}

// Many users behind one address (a proxy, an office) log in at the same time:
// those who wait for their check have not failed.
func TestManyUsersOfOneAddress(t *testing.T) {
	users, _ := newUsers(t, record.NewClock(nil), nil)
	errs := make(chan error, 40)
	for i := range cap(errs) {
		require.NoError(t, users.Set(t.Context(), fmt.Sprint("user", i), "secret"))
	}
	for i := range cap(errs) {
		go func() { errs <- users.Verify(context.Background(), fmt.Sprint("user", i), "secret", here) }()
	}
	for range cap(errs) {
		require.NoError(t, <-errs)
	}
}

func TestMakeRoom(t *testing.T) {
	m := map[int]bool{1: true, 2: false, 3: true}
	account.MakeRoom(m)
	require.Equal(t, map[int]bool{2: false}, m, "what is over goes")
	m = map[int]bool{1: false, 2: false}
	account.MakeRoom(m)
	require.Len(t, m, 1, "and if nothing is, anything")
}
