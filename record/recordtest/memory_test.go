package recordtest

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
)

func TestMemory(t *testing.T) {
	Run(t, func(*testing.T) record.Engine { return NewMemory(nil) })
}

func TestMemoryFail(t *testing.T) {
	m := NewMemory(nil)
	put(t, m, record.User, "a", "1")
	broken := errors.New("broken")
	m.Fail(broken)
	_, err := m.Get(t.Context(), record.User, "a")
	require.ErrorIs(t, err, broken)
	_, err = m.Update(t.Context(), record.User, "a", record.Condition{}, record.Change{})
	require.ErrorIs(t, err, broken)
	for _, err := range m.List(t.Context(), record.User, record.ByKey, "", "") {
		require.ErrorIs(t, err, broken)
	}
	m.Fail(nil)
	require.Len(t, get(t, m, record.User, "a"), 1)
}

func TestMemoryExpire(t *testing.T) {
	m := NewMemory(nil)
	now := time.Now()
	for key, final := range map[string]bool{"open": false, "revoked": true} {
		_, err := m.Update(t.Context(), record.Purchase, key, record.Condition{},
			record.Change{Value: []byte("1"), Expires: now.UnixMilli(), Final: final})
		require.NoError(t, err)
	}
	_, err := m.Update(t.Context(), record.Peer, "gone", record.Condition{}, record.Change{Delete: true})
	require.NoError(t, err)
	var seen []record.Record
	for _, topic := range []record.Topic{record.Purchase, record.Peer} {
		defer m.Watch(topic, func(r []record.Record) { seen = append(seen, r...) })()
	}
	m.Expire(now.Add(59 * time.Minute))
	require.Empty(t, seen)
	m.Expire(now.Add(61 * time.Minute))
	require.Equal(t, []string{"open"}, names(seen))
	require.True(t, seen[0].Deleted)
	m.Expire(now.Add(8 * 24 * time.Hour))
	require.Equal(t, []string{"open", "gone"}, names(seen))
	m.Expire(now.Add(31 * 24 * time.Hour))
	require.Equal(t, []string{"open", "gone", "revoked"}, names(seen))
	require.Empty(t, collect(t, m.Walk(t.Context(), nil)))
}
