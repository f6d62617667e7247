package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
)

// sample is a stream of the source "s", built frame by frame.
type sample struct{ b []byte }

func newSample(w begin) *sample {
	if w.source == "" {
		w.source = "s"
	}
	return &sample{w.appendTo(appendPreface(nil))}
}

func (s *sample) records(records ...record.Record) *sample {
	f := frame{kind: recordsFrame}
	for _, r := range records {
		f.addRecord(recordKey(&r), r.Source, encodeRecord(&r))
	}
	s.b = f.appendTo(s.b)
	return s
}

func (s *sample) raw(kind byte, body string) *sample {
	f := frame{kind: kind, body: []byte(body)}
	s.b = f.appendTo(s.b)
	return s
}

func (s *sample) mark(claim, dropped uint64) *sample {
	s.b = status{claim: claim, dropped: dropped, at: 1}.appendTo(s.b)
	return s
}

func user(revision uint64, key string) record.Record {
	return record.Record{Topic: record.User, Key: key, Source: "s", Time: record.Time(revision), Revision: revision, Value: []byte(key)}
}

// TestFollowBadStreams: what is no stream, or not what was asked for, ends in
// ErrStream; what was good before it is kept, and nothing of what was bad.
func TestFollowBadStreams(t *testing.T) {
	good := func() *sample { return newSample(begin{claim: 9, head: 9}).records(user(1, "a"), user(2, "b")) }
	long := user(3, "c")
	long.Key = strings.Repeat("k", record.MaxKey+1)
	huge := user(3, "c")
	huge.Value = make([]byte, record.MaxValue+1)
	unknown := user(3, "c")
	unknown.Topic = "unheard"
	flipped := good().records(user(3, "c")).b
	flipped[len(flipped)-6] ^= 1
	tests := map[string]struct {
		stream []byte
		kept   int
		says   string
	}{
		"html":                   {[]byte("<html><body>404</body></html>"), 0, "begins with"},
		"oversized frame":        {append(good().b, 0x7f, 0xff, 0xff, 0xff, recordsFrame), 2, "a frame of"},
		"empty frame":            {append(good().b, 0, 0, 0, 0, 0, 0, 0, 0), 2, "a frame of 0"},
		"a bit flipped":          {flipped, 2, "checksum"},
		"unknown kind":           {good().raw('?', "").b, 2, `'?'`},
		"records first":          {(&sample{appendPreface(nil)}).records(user(1, "a")).b, 0, "first frame"},
		"another source":         {newSample(begin{source: "other"}).records(user(1, "a")).b, 0, "another source"},
		"behind what was asked":  {newSample(begin{since: 5}).records(user(6, "a")).b, 0, "begins at 5"},
		"malformed beginning":    {good().raw(beginFrame, "\x02").b, 2, "flags"},
		"cut beginning":          {good().raw(beginFrame, "\x00\x01").b, 2, "cut"},
		"unsound start-over":     {newSample(begin{over: true, claim: 3, dropped: 4}).b, 0, "starts over"},
		"revisions go backwards": {good().records(user(2, "c")).b, 2, "revision 2 behind 2"},
		"within a frame":         {good().records(user(4, "c"), user(3, "d")).b, 2, "revision 3 behind 4"},
		"revision 0":             {good().records(user(0, "c")).b, 2, "revision 0"},
		"long key":               {good().records(user(3, "c"), long).b, 2, "key of 256"},
		"huge record":            {good().records(huge).b, 2, "value of"},
		"unknown topic":          {good().records(user(3, "c"), unknown).b, 2, "unknown topic"},
		"a NUL too many":         {good().raw(recordsFrame, "\x09user\x00c\x00\x00x\x00").b, 2, "malformed key"},
		"record cut":             {good().raw(recordsFrame, "\x7fuser").b, 2, "cut"},
		"malformed value":        {good().raw(recordsFrame, "\x07user\x00c\x00\x02\xff\xff").b, 2, "malformed value"},
		"malformed mark":         {good().raw(markFrame, "\x01").b, 2, "cut"},
		"mark with a tail":       {good().raw(markFrame, "\x01\x01\x01\x01").b, 2, "another form"},
		"mark above the claim":   {good().mark(10, 0).b, 2, "claim of 9"},
		"marks go backwards":     {good().mark(9, 0).mark(8, 0).b, 2, "a mark at 8"},
		"start-over cut short":   {newSample(begin{over: true, claim: 9, dropped: 1}).mark(8, 1).b, 0, "started over"},
		"many records": {newSample(begin{claim: 9}).raw(recordsFrame, strings.Repeat(
			"\x07user\x00c\x00\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x01\x01", maxChanges+1)).b, 0, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := start(t, Options{})
			err := j.Follow(t.Context(), "s", "server", bytes.NewReader(test.stream), nil)
			require.ErrorIs(t, err, ErrStream)
			require.ErrorContains(t, err, test.says)
			require.Len(t, j.walk(), test.kept)
			require.LessOrEqual(t, j.Claims()["s"], uint64(9))
		})
	}
}

// TestVersions: a newer and an older version of the stream are refused, and
// the error says so.
func TestVersions(t *testing.T) {
	j := start(t, Options{})
	for _, version := range []uint16{0, streamVersion + 1, 999} {
		stream := binary.BigEndian.AppendUint16([]byte(streamMagic), version)
		err := j.Follow(t.Context(), "s", "server", bytes.NewReader(append(stream, "whatever"...)), nil)
		require.ErrorIs(t, err, ErrVersion)
		require.ErrorIs(t, err, ErrStream)
		require.ErrorContains(t, err, fmt.Sprintf("speaks version %d and this node 1", version))
	}
	require.Equal(t, "OOSEJ\n\x00\x01", string(appendPreface(nil)), "what older nodes refuse must stay where it is")
}

func TestFollowRefuses(t *testing.T) {
	j := start(t, Options{})
	for _, source := range []string{"", j.Source(), strings.Repeat("s", 256)} {
		require.ErrorIs(t, j.Follow(t.Context(), source, "x", strings.NewReader(""), nil), record.ErrInvalid)
	}
	require.ErrorIs(t, j.Stream(t.Context(), "unheard", 0, io.Discard, nil), ErrUnknown)
	require.ErrorIs(t, j.Stream(t.Context(), j.Source(), 1, io.Discard, nil), ErrAhead)
	j.stop()
	require.ErrorIs(t, j.Stream(context.Background(), j.Source(), 0, io.Discard, nil), record.ErrUnavailable)
	require.ErrorIs(t, j.Follow(context.Background(), "s", "x", bytes.NewReader(newSample(begin{claim: 3}).records(user(1, "a")).mark(3, 0).b), nil), record.ErrUnavailable)
}

// TestFrameRoundTrip: what is written is read.
func TestFrameRoundTrip(t *testing.T) {
	w := begin{source: "s", over: true, head: 1 << 60, claim: 77, dropped: 7}
	stored := []record.Record{user(3, "a"), user(1<<40, "b")}
	stored[1].Deleted, stored[1].Value = true, nil
	inventory := record.Record{Topic: record.Inventory, Key: "h", Member: "m", Source: "s", Time: 9, Revision: 1 << 41, Expires: 5, Final: true, Value: []byte("v")}
	stored = append(stored, inventory)
	b := newSample(w).records(stored...).mark(77, 7).b
	s := newStreamReader("s", bytes.NewReader(b), func() {})
	require.NoError(t, s.frames.preface())
	e, err := s.next()
	require.NoError(t, err)
	require.Equal(t, w, *e.begin)
	e, err = s.next()
	require.NoError(t, err)
	require.Len(t, e.records, len(stored))
	for i, in := range e.records {
		require.Equal(t, stored[i], in.Record)
		require.Equal(t, makeIncoming(stored[i]), in)
	}
	e, err = s.next()
	require.NoError(t, err)
	require.Equal(t, status{77, 7, 1}, *e.mark)
	_, err = s.next()
	require.ErrorIs(t, err, io.EOF)
}

// FuzzStream: whatever comes, reading it ends, takes no more memory than a
// frame may, and gives only records that engines take.
func FuzzStream(f *testing.F) {
	f.Add(newSample(begin{claim: 9, head: 9}).records(user(1, "a"), user(2, "b")).mark(9, 0).records(user(1, "a")).mark(10, 0).b)
	f.Add(newSample(begin{over: true, claim: 9, dropped: 3}).mark(9, 3).b)
	f.Add(newSample(begin{}).raw('?', "x").b)
	f.Add(appendPreface(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newStreamReader("s", bytes.NewReader(b), func() {})
		if s.frames.preface() != nil {
			return
		}
		for {
			e, err := s.next()
			if err != nil {
				require.LessOrEqual(t, cap(s.frames.body), maxFrameBytes+8)
				return
			}
			for i, in := range e.records {
				require.NoError(t, record.CheckRecord(in.Record))
				require.Equal(t, "s", in.Source)
				if i > 0 {
					require.Greater(t, in.Revision, e.records[i-1].Revision)
				}
				again, err := parseRecordKey(in.key)
				require.NoError(t, err)
				require.NoError(t, decodeRecord(&again, in.stored))
				require.Equal(t, in.Record, again)
			}
		}
	})
}

// FuzzRecords fuzzes what is within a frame whose checksum is right.
func FuzzRecords(f *testing.F) {
	body := newSample(begin{}).records(user(1, "a"), user(2, "b")).b
	f.Add(body[len(begin{source: "s"}.appendTo(appendPreface(nil)))+5 : len(body)-4])
	f.Fuzz(func(t *testing.T, b []byte) {
		items, err := decodeRecords(b, "s", 0)
		if err != nil {
			require.ErrorIs(t, err, ErrStream)
			return
		}
		fr := frame{kind: recordsFrame}
		for i := range items {
			require.NoError(t, record.CheckRecord(items[i].Record))
			fr.addRecord(items[i].key, "s", items[i].stored)
		}
		same, err := decodeRecords(fr.body, "s", 0)
		require.NoError(t, err)
		require.Equal(t, items, same)
	})
}
