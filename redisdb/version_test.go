package redisdb

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
)

func TestTags(t *testing.T) {
	// docs/redis.md gives these, for those who write such a function themselves.
	require.Equal(t, 16, tagOf(record.Purchase, "a20261120a7ch2nx9djn"))
	require.Equal(t, 54, tagOf(record.User, "alice"))
	require.Equal(t, 20, tagOf(record.Inventory, "a03f181dc7dedcfb577511149b8844711efdb04f"))
	require.Equal(t, "{07}", tagText(7))
	require.Equal(t, "oose:{16}:r:purchase:a20261120a7ch2nx9djn", layout{"oose"}.records(record.Purchase, "a20261120a7ch2nx9djn"))
}

func TestVersion(t *testing.T) {
	for _, r := range []record.Record{
		{Topic: record.User, Key: "alice", Source: "s", Time: record.Time(1_795_000_000_000<<16 | 7), Revision: 9, Expires: 5, Final: true, Value: []byte("{\n}")},
		{Topic: record.Inventory, Key: "h", Member: "m", Source: "s:x", Time: 1, Revision: 1 << 60, Deleted: true},
		{Topic: record.User, Key: "a", Source: "s", Time: 1<<62 + 5, Revision: 1, Deleted: true, Final: true},
		{Topic: record.User, Key: "a", Source: "s", Time: 1, Revision: 1, Value: []byte("\x00\xff 1 2-3 4 5 d\n")},
	} {
		text := encodeVersion(&r)
		got, err := decodeVersion(r.Topic, r.Key, fieldOf(r.Member, r.Source), text)
		require.NoError(t, err)
		require.Equal(t, r, got)
	}
	require.Equal(t, "1 1795000000000-7 9 5 f\nx", encodeVersion(&record.Record{
		Time: record.Time(1_795_000_000_000<<16 | 7), Revision: 9, Expires: 5, Final: true, Value: []byte("x")}))
}

func TestVersionUnreadable(t *testing.T) {
	for _, raw := range []string{
		"", "\n", "1 1-0 1 0 -", "2 1-0 1 0 -\n", "1 1 1 0 -\n", "1 1-0 1 0\n", "1 1-0 1 0 x\n", "1 1-65536 1 0 -\n", "1 -1-0 1 0 -\n",
		"1 1-0 +1 0 -\n", "1 1-0 1 -5 -\n", "1 1-0 1 1e3 -\n", "1 999999999999999-0 1 0 -\n", "1 1-0 1 0 - \n", " 1 1-0 1 0 -\n",
		"1 1-0 99999999999999999999999 0 -\n", "1 1-0 1 18446744073709551615 -\n", "1 1-0 1 0 -\n" + strings.Repeat("x", record.MaxValue+1),
	} {
		_, err := decodeVersion(record.User, "k", "s", raw)
		require.ErrorIs(t, err, errVersion, "%.60q", raw)
	}
	_, err := decodeVersion(record.User, "k", "m\x00s", "1 1-0 1 0 -\n")
	require.ErrorIs(t, err, errVersion, "only the inventory has members")
	_, err = decodeVersion(record.Inventory, "k", "s", "1 1-0 1 0 -\n")
	require.ErrorIs(t, err, errVersion)
	_, err = decodeVersion(record.User, "k", "", "1 1-0 1 0 -\n")
	require.ErrorIs(t, err, errVersion)
}

func FuzzVersion(f *testing.F) {
	f.Add("s", "1 1795000000000-7 9 5 f\nx")
	f.Add("m\x00s", "1 1-0 1 0 df\n")
	f.Add("s", "1 1-0 1 0 -")
	f.Fuzz(func(t *testing.T, field, raw string) {
		topic := record.User
		if strings.Contains(field, "\x00") {
			topic = record.Inventory
		}
		r, err := decodeVersion(topic, "k", field, raw)
		if err != nil {
			return
		}
		again, err := decodeVersion(topic, "k", fieldOf(r.Member, r.Source), encodeVersion(&r))
		require.NoError(t, err)
		require.Equal(t, r, again)
	})
}

func TestParseChange(t *testing.T) {
	c, ok := parseChange(redis.XMessage{ID: "5-1", Values: map[string]any{
		"t": "inventory", "k": "h", "w": "me:3", "=b\x00s": "1 2-0 3 0 -\nv", "=a\x00s": "1 2-0 4 0 -\nw",
	}})
	require.True(t, ok)
	require.True(t, c.whole)
	require.Equal(t, position{5, 1}, c.at)
	require.Equal(t, "me:3", c.writer)
	require.Len(t, c.records, 2)
	require.Equal(t, "a", c.records[0].Member)

	c, ok = parseChange(redis.XMessage{ID: "5-1", Values: map[string]any{"t": "user", "k": "a", "~s": "1 2-0 3 0 -\n"}})
	require.True(t, ok)
	require.False(t, c.whole, "the value is to be read")
	c, ok = parseChange(redis.XMessage{ID: "5-1", Values: map[string]any{"t": "user", "k": "a"}})
	require.True(t, ok)
	require.False(t, c.whole)
	c, ok = parseChange(redis.XMessage{ID: "5-1", Values: map[string]any{"t": "user", "k": "a", "=s": "garbage"}})
	require.True(t, ok)
	require.False(t, c.whole)
	c, ok = parseChange(redis.XMessage{ID: "5-1", Values: map[string]any{"t": "peer", "k": "a", "-s": "1 2-0 3 0 d\n"}})
	require.True(t, ok)
	require.True(t, c.whole)
	require.True(t, c.dropped[0].Deleted)
	require.EqualValues(t, 3, c.dropped[0].Revision)
	for _, values := range []map[string]any{{}, {"t": "", "k": ""}, {"t": "nonsense", "k": "a"}, {"t": "user", "k": "a\x00b"}, {"t": 1, "k": "a"}} {
		_, ok = parseChange(redis.XMessage{ID: "5-1", Values: values})
		require.False(t, ok)
	}
}

func FuzzParseChange(f *testing.F) {
	f.Add("1-1", "user", "alice", "=s", "1 1-0 1 0 -\nx")
	f.Add("x", "inventory", "h", "-m\x00s", "1 1-0 1 0 d\n")
	f.Add("1-1", "purchase", "t", "-*", "")
	f.Fuzz(func(t *testing.T, id, topic, key, name, value string) {
		c, ok := parseChange(redis.XMessage{ID: id, Values: map[string]any{"t": topic, "k": key, name: value}})
		if !ok {
			return
		}
		require.NoError(t, record.CheckKey(c.topic, c.key))
		for _, r := range append(c.records, c.dropped...) {
			require.Equal(t, c.topic, r.Topic)
			require.Equal(t, c.key, r.Key)
		}
	})
}

func TestPosition(t *testing.T) {
	require.Equal(t, position{}, parsePosition("x"))
	require.Equal(t, position{}, parsePosition(""))
	p := parsePosition("1795000000000-12")
	require.Equal(t, "1795000000000-12", p.String())
	require.True(t, p.after(position{1_795_000_000_000, 11}))
	require.False(t, p.after(p))
	require.True(t, position{2, 0}.after(position{1, 9}))
}
