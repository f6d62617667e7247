package record

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestKeepUntil(t *testing.T) {
	hour, month := time.Hour.Milliseconds(), 30*24*time.Hour.Milliseconds()
	for name, c := range map[string]struct {
		versions []Record
		want     int64
	}{
		"none":          {nil, 0},
		"one":           {[]Record{{Expires: 1000}}, 1000 + hour},
		"latest":        {[]Record{{Expires: 1000}, {Expires: 3000}, {Expires: 2000}}, 3000 + hour},
		"never":         {[]Record{{Expires: 1000}, {}}, 0},
		"revoked":       {[]Record{{Expires: 1000, Final: true}, {Expires: 3000}}, 3000 + month},
		"revoked never": {[]Record{{Final: true}, {Expires: 3000}}, 0},
	} {
		require.Equal(t, c.want, KeepUntil(c.versions), name)
	}
	require.True(t, Expiring(Purchase) && Expiring(Use) && Expiring(Session))
	require.False(t, Expiring(User) || Expiring(Inventory))
}

func TestDroppable(t *testing.T) {
	const old, now = Time(0), int64(1) << 40
	recent := Time(now << 16)
	tomb := func(source string, at Time) Record { return Record{Source: source, Time: at, Deleted: true} }
	live := func(source string, at Time) Record { return Record{Source: source, Time: at} }
	for name, c := range map[string]struct {
		versions []Record
		want     bool
	}{
		"alone":               {[]Record{tomb("a", old+5)}, true},
		"too new":             {[]Record{tomb("a", recent)}, false},
		"live":                {[]Record{live("a", old+5)}, false},
		"hides":               {[]Record{tomb("a", old+5), live("b", old+4)}, false},
		"nothing to hide":     {[]Record{tomb("a", old+5), live("b", old+6)}, true},
		"hidden by another":   {[]Record{tomb("a", old+5), live("b", old+6), tomb("c", recent)}, true},
		"one of two that do":  {[]Record{tomb("a", old+5), live("b", old+4), tomb("c", recent)}, false},
		"beside another":      {[]Record{tomb("a", old+5), tomb("b", old+4)}, true},
		"live anyway":         {[]Record{tomb("a", old+5), live("b", old+4), live("c", old+9)}, true},
		"final beats a later": {[]Record{{Source: "a", Time: 3, Final: true, Deleted: true}, live("b", old+4)}, false},
	} {
		require.Equal(t, c.want, Droppable(Peer, c.versions, 0, now), name)
	}
	require.Equal(t, 7*24*time.Hour.Milliseconds()+3, TombstoneUntil(Record{Time: 3 << 16}))
	require.True(t, Tombstones(Inventory) && Tombstones(Peer))
	require.False(t, Tombstones(User) || Tombstones(Purchase))
}

func TestCheckRecord(t *testing.T) {
	good := Record{Topic: Peer, Key: "k", Source: "s", Time: 1, Revision: 1, Value: []byte("1")}
	require.NoError(t, CheckRecord(good))
	for name, spoil := range map[string]func(*Record){
		"source":     func(r *Record) { r.Source = "" },
		"NUL":        func(r *Record) { r.Source = "a\x00b" },
		"revision":   func(r *Record) { r.Revision = 0 },
		"no time":    func(r *Record) { r.Time = 0 },
		"end times":  func(r *Record) { r.Time = maxTime + 1 },
		"topic":      func(r *Record) { r.Topic = "x" },
		"member":     func(r *Record) { r.Member = "m" },
		"value":      func(r *Record) { r.Value = make([]byte, MaxValue+1) },
		"tombstone":  func(r *Record) { r.Deleted = true },
		"before all": func(r *Record) { r.Expires = -1 },
	} {
		r := good
		spoil(&r)
		require.ErrorIs(t, CheckRecord(r), ErrInvalid, name)
	}
	many := make([]Change, MaxChanges)
	for i := range many {
		many[i] = Change{Member: string(rune('a' + i)), Value: make([]byte, MaxUpdateBytes/MaxChanges)}
	}
	require.ErrorIs(t, Check(Inventory, "k", many), ErrInvalid, "together too large")
	for i := range many {
		many[i].Value = nil
	}
	require.NoError(t, Check(Inventory, "k", many))
	require.ErrorIs(t, Check(Inventory, "k", append(many, Change{Member: "zz"})), ErrInvalid, "too many")
}
