package journal

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
)

func FuzzRecordKey(f *testing.F) {
	f.Add("r\x00")
	f.Add(string(recordKey(&record.Record{Topic: record.Inventory, Key: "abc", Member: "s1", Source: "x"})))
	f.Add(string(recordKey(&record.Record{Topic: record.Purchase, Key: "abc", Source: "x"})))
	f.Add("rpurchase\x00\x00\x00x")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseRecordKey([]byte(s))
		if err != nil {
			require.ErrorIs(t, err, errKey)
			return
		}
		require.Equal(t, s, string(recordKey(&r)))
		require.True(t, strings.HasPrefix(s, string(memberGroup(r.Topic, r.Key, r.Member))))
	})
}

// FuzzKeys: any names that records may have give keys that are read back, in
// an order that is that of (topic, key, member, source).
func FuzzKeys(f *testing.F) {
	f.Add("a", "m", "s", "ab", "", "t", int64(5))
	f.Add("a", "", "s", "a", "\x01", "s", int64(1<<62))
	f.Fuzz(func(t *testing.T, key1, member1, source1, key2, member2, source2 string, due int64) {
		a := record.Record{Topic: record.Inventory, Key: key1, Member: member1, Source: source1}
		b := record.Record{Topic: record.Inventory, Key: key2, Member: member2, Source: source2}
		for _, s := range []string{key1, source1, key2, source2} {
			if s == "" {
				return
			}
		}
		if strings.Contains(key1+member1+source1+key2+member2+source2, "\x00") || due < 0 {
			return
		}
		got, err := parseRecordKey(recordKey(&a))
		require.NoError(t, err)
		require.Equal(t, a, got)
		want := strings.Compare(key1, key2)
		if want == 0 {
			want = strings.Compare(member1, member2)
		}
		if want == 0 {
			want = strings.Compare(source1, source2)
		}
		require.Equal(t, want, strings.Compare(string(recordKey(&a)), string(recordKey(&b))))

		h, err := parseHint(hint{due, recordKey(&a)}.encode())
		require.NoError(t, err)
		require.Equal(t, hint{due, recordKey(&a)}, h)
	})
}

func FuzzHint(f *testing.F) {
	f.Add("x12345678r")
	f.Add("x\xff2345678r")
	f.Fuzz(func(t *testing.T, s string) {
		if h, err := parseHint([]byte(s)); err == nil {
			require.Equal(t, s, string(h.encode()))
		}
	})
}

func FuzzValue(f *testing.F) {
	f.Add(encodeRecord(&record.Record{Time: 1, Revision: 2, Expires: 3, Final: true, Value: []byte("{}")}))
	f.Add(encodeRecord(&record.Record{Time: 1 << 62, Revision: 1 << 63, Deleted: true}))
	f.Add([]byte{4, 0, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var r, again record.Record
		if err := decodeRecord(&r, b); err != nil {
			require.ErrorIs(t, err, errValue)
			return
		}
		require.NoError(t, decodeRecord(&again, encodeRecord(&r)))
		require.Equal(t, r, again)
	})
}

func FuzzState(f *testing.F) {
	f.Add(state{head: 1, claim: 2, dropped: 3, last: 1 << 60}.encode())
	f.Add([]byte{0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeState(b)
		if err != nil {
			return
		}
		again, err := decodeState(s.encode())
		require.NoError(t, err)
		require.Equal(t, s, again)
	})
}
