package export

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/record/recordtest"
)

// full returns an engine with records of every topic, of two sources, with
// everything that a record can have.
func full(t *testing.T) *recordtest.Memory {
	t.Helper()
	m := recordtest.NewMemory(nil)
	soon := time.Now().Add(time.Hour).UnixMilli()
	for i, topic := range record.Topics() {
		for k := range 5 {
			c := record.Change{Value: fmt.Appendf(nil, `{"n":%d,"<&>":"ü"}`, k)}
			if topic == record.Inventory {
				c.Member = fmt.Sprint("store", k%2)
			}
			if record.Expiring(topic) {
				c.Expires = soon
			}
			c.Final = record.Expiring(topic) && k == 4
			_, err := m.Update(t.Context(), topic, fmt.Sprint("key", k), record.Condition{}, c)
			require.NoError(t, err)
		}
		r := record.Record{
			Topic: topic, Key: "key1", Source: "other", Time: record.TimeOf(time.Now()) + record.Time(i),
			Revision: uint64(i + 1), Value: []byte{0, 1, 0xff, '\n', '"'},
		}
		if topic == record.Inventory {
			r.Member = "store1"
		}
		if record.Expiring(topic) {
			r.Expires = soon + 1
		}
		m.Inject(r)
	}
	_, err := m.Update(t.Context(), record.Removal, "key0", record.Condition{}, record.Change{Delete: true})
	require.NoError(t, err)
	return m
}

func collect(t *testing.T, seq iter.Seq2[record.Record, error]) (list []record.Record) {
	t.Helper()
	for r, err := range seq {
		require.NoError(t, err)
		if r.Value == nil {
			r.Value = []byte{}
		}
		list = append(list, r)
	}
	return list
}

func exported(t *testing.T, e record.Engine) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, Header{Source: "memory", Time: 1})
	require.NoError(t, err)
	done, err := Export(t.Context(), e, nil, w, 0)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.Equal(t, w.Records(), done.Records)
	return b.Bytes()
}

func imported(t *testing.T, to Target, text []byte) Imported {
	t.Helper()
	r, err := NewReader(bytes.NewReader(text))
	require.NoError(t, err)
	done, err := Import(t.Context(), to, r, 0)
	require.NoError(t, err)
	return done
}

func TestThereAndBack(t *testing.T) {
	m := full(t)
	text := exported(t, m)
	require.Equal(t, bytes.Count(text, []byte("\n")), len(strings.Split(strings.TrimSpace(string(text)), "\n")), "one record a line")

	to := recordtest.NewMemory(nil)
	done := imported(t, to, text)
	all := collect(t, m.Walk(t.Context(), nil))
	require.Equal(t, Imported{Records: uint64(len(all)), Taken: uint64(len(all))}, done)
	require.Equal(t, all, collect(t, to.Walk(t.Context(), nil)), "with sources, revisions, times and values")
	require.Equal(t, lines(text)[1:len(all)+1], lines(exported(t, to))[1:len(all)+1])

	done = imported(t, to, text)
	require.Equal(t, Imported{Records: uint64(len(all)), Left: uint64(len(all))}, done, "a second time nothing is newer")
}

func lines(text []byte) []string { return strings.SplitAfter(string(text), "\n") }

// TestReadable: what is JSON can be read and searched in an export.
func TestReadable(t *testing.T) {
	m := recordtest.NewMemory(nil)
	_, err := m.Update(t.Context(), record.User, "alice", record.Condition{}, record.Change{Value: []byte(`{"a":"<b>"}`)})
	require.NoError(t, err)
	require.Contains(t, string(exported(t, m)), `"topic":"user","key":"alice","source":"memory"`)
	require.Contains(t, string(exported(t, m)), `"revision":1,"value":{"a":"<b>"}}`)
}

func TestDamageIsNoticed(t *testing.T) {
	text := exported(t, full(t))
	read := func(text []byte) (n int, err error) {
		r, err := NewReader(bytes.NewReader(text))
		for err == nil {
			if _, err = r.Next(); err == nil {
				n++
			}
		}
		return n, err
	}
	whole, err := read(text)
	require.ErrorIs(t, err, io.EOF)
	for cut := 0; cut < len(text); cut += 1 + cut/20 {
		n, err := read(text[:cut])
		require.ErrorIs(t, err, ErrTruncated, "cut at %d", cut)
		require.LessOrEqual(t, n, whole)
	}
	at := lines(text)
	join := func(parts ...[]string) []byte {
		return []byte(strings.Join(slices.Concat(parts...), ""))
	}
	for name, bad := range map[string][]byte{
		"line taken out":   join(at[:3], at[4:]),
		"line twice":       join(at[:4], at[3:]),
		"lines swapped":    join(at[:3], at[4:5], at[3:4], at[5:]),
		"value changed":    bytes.Replace(text, []byte(`{"n":1,`), []byte(`{"n":7,`), 1),
		"behind the end":   append(slices.Clone(text), "x\n"...),
		"two ends":         append(slices.Clone(text), at[len(at)-2]...),
		"no export":        []byte("{}\n"),
		"no JSON":          []byte("hello\n"),
		"newer":            bytes.Replace(text, []byte(`"version":1`), []byte(`"version":2`), 1),
		"unknown topic":    join(at[:1], []string{`{"topic":"x","key":"k","source":"s","time":"1","revision":1}` + "\n"}),
		"unknown field":    join(at[:1], []string{`{"topic":"user","key":"k","source":"s","time":"1","revision":1,"new":1}` + "\n"}),
		"two values":       join(at[:1], []string{`{"topic":"user","key":"k","source":"s","time":"1","revision":1,"value":1,"value64":"MQ=="}` + "\n"}),
		"two names":        join(at[:1], []string{`{"topic":"user","key":"k","names64":{"key":"aw==","source":"aw=="},"time":"1","revision":1}` + "\n"}),
		"a sum too early":  join(at[:1], []string{`{"topic":"user","key":"k","source":"s","time":"1","revision":1,"records":1}` + "\n"}),
		"two on one line":  join(at[:1], []string{strings.TrimSpace(at[1]) + at[2]}),
		"endless line":     join(at[:1], []string{strings.Repeat("x", maxLine+1)}),
		"empty line":       join(at[:1], []string{"\n"}),
		"value too large":  join(at[:1], []string{`{"topic":"user","key":"k","source":"s","time":"1","revision":1,"value":"` + strings.Repeat("x", record.MaxValue) + "\"}\n"}),
		"revision of zero": join(at[:1], []string{`{"topic":"user","key":"k","source":"s","time":"1"}` + "\n"}),
	} {
		_, err := read(bad)
		require.ErrorIs(t, err, ErrFormat, name)
	}
	_, err = read(join(at[:2], []string{`{"error":"the disk is gone"}` + "\n"}))
	require.ErrorIs(t, err, ErrTruncated)
	require.ErrorContains(t, err, "the disk is gone")
}

// TestErrorsStay: who goes on reading after an error gets it again, not what is behind it.
func TestErrorsStay(t *testing.T) {
	at := lines(exported(t, full(t)))
	r, err := NewReader(strings.NewReader(at[0] + "x\n" + at[1]))
	require.NoError(t, err)
	_, first := r.Next()
	require.ErrorIs(t, first, ErrFormat)
	_, second := r.Next()
	require.Equal(t, first, second)
	require.Zero(t, r.Records())
}

func TestResume(t *testing.T) {
	m := full(t)
	text := exported(t, m)
	all := collect(t, m.Walk(t.Context(), nil))
	header := len(lines(text)[0])
	for _, cut := range []int{header, header + 1, len(text) / 3, len(text) / 2, len(text) - 1} {
		path := filepath.Join(t.TempDir(), "backup")
		require.NoError(t, os.WriteFile(path, text[:cut], 0o600))
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		require.NoError(t, err)
		part, err := Resume(f, f)
		require.NoError(t, err)
		require.Equal(t, Header{Format: formatName, Version: 1, Source: "memory", Time: 1}, part.Header)
		done, err := Export(t.Context(), m, part.Position, part.Writer, 0)
		require.NoError(t, err)
		require.Equal(t, uint64(len(all)), part.Records+done.Records)
		require.NoError(t, part.Writer.Close())
		require.NoError(t, f.Close())
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(text), string(got), "as if it had not been interrupted")
	}
	for name, c := range map[string]struct {
		text []byte
		want error
	}{
		"complete": {text, ErrComplete},
		"empty":    {nil, ErrTruncated},
		"header":   {text[:header-1], ErrTruncated},
		"damaged":  {[]byte(strings.Join(lines(text)[:2], "") + "x\n"), ErrFormat},
	} {
		path := filepath.Join(t.TempDir(), "backup")
		require.NoError(t, os.WriteFile(path, c.text, 0o600))
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		require.NoError(t, err)
		_, err = Resume(f, f)
		require.ErrorIs(t, err, c.want, name)
		require.NoError(t, f.Close())
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(c.text), string(got), "%s: the file stays as it is", name)
	}
}

// TestResumeBringsWhatChanged: what was written between is in it, and wins.
func TestResumeBringsWhatChanged(t *testing.T) {
	m := full(t)
	text := exported(t, m)
	_, err := m.Update(t.Context(), record.User, "key0", record.Condition{}, record.Change{Value: []byte(`"new"`)})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "backup")
	require.NoError(t, os.WriteFile(path, text[:len(text)-5], 0o600))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	part, err := Resume(f, f)
	require.NoError(t, err)
	_, err = Export(t.Context(), m, part.Position, part.Writer, 0)
	require.NoError(t, err)
	require.NoError(t, part.Writer.Close())
	text, err = os.ReadFile(path)
	require.NoError(t, err)
	to := recordtest.NewMemory(nil)
	imported(t, to, text)
	require.Equal(t, collect(t, m.Walk(t.Context(), nil)), collect(t, to.Walk(t.Context(), nil)))
}

// online is an engine that is written to while it is exported.
type online struct {
	*recordtest.Memory
	during func(n int)
}

func (o *online) Walk(ctx context.Context, since record.Position) iter.Seq2[record.Record, error] {
	return func(yield func(record.Record, error) bool) {
		n := 0
		for r, err := range o.Memory.Walk(ctx, since) {
			if n++; !yield(r, err) {
				return
			}
			o.during(n)
		}
	}
}

func TestExpired(t *testing.T) {
	ctx, m, now := t.Context(), recordtest.NewMemory(nil), time.Now()
	buy := func(key string, source string, revision uint64, at time.Time, life time.Duration, final bool) {
		m.Inject(record.Record{
			Topic: record.Purchase, Key: key, Source: source, Revision: revision, Final: final,
			Time: record.TimeOf(at), Expires: now.Add(life).UnixMilli(), Value: []byte(`{}`),
		})
	}
	buy("runs", "a", 1, now, time.Hour, false)
	buy("over", "a", 2, now, -2*time.Hour, false)
	buy("shortened", "a", 3, now, 10*time.Hour, false)
	buy("shortened", "b", 1, now.Add(time.Second), -2*time.Hour, false) // the later one counts
	buy("revoked", "a", 4, now, -2*time.Hour, true)
	var b bytes.Buffer
	w, err := NewWriter(&b, Header{})
	require.NoError(t, err)
	done, err := Export(ctx, m, nil, w, 0)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.Equal(t, Exported{Records: 4, Expired: 1}, done)

	to := recordtest.NewMemory(nil)
	require.Equal(t, Imported{Records: 4, Taken: 4}, imported(t, to, b.Bytes()))
	versions, err := to.Get(ctx, record.Purchase, "shortened")
	require.NoError(t, err)
	merged, ok := record.Merge(record.Purchase, versions)
	require.True(t, ok)
	require.Equal(t, "b", merged.Source, "a purchase whose life was made shorter does not come back")

	// Later everything is over.
	text := strings.NewReplacer(fmt.Sprintf(`"keep":%d`, now.Add(2*time.Hour).UnixMilli()), `"keep":1`).Replace(b.String())
	text = resummed(t, text)
	to = recordtest.NewMemory(nil)
	require.Equal(t, Imported{Records: 4, Taken: 3, Expired: 1}, imported(t, to, []byte(text)))
}

// resummed gives a changed export the end that agrees with it.
func resummed(t *testing.T, text string) string {
	t.Helper()
	var b strings.Builder
	at := lines([]byte(text))
	var h Header
	require.NoError(t, json.Unmarshal([]byte(at[0]), &h))
	w, err := NewWriter(&b, h)
	require.NoError(t, err)
	for _, l := range at[1 : len(at)-2] {
		var parsed line
		require.NoError(t, json.Unmarshal([]byte(l), &parsed))
		e, err := parsed.entry()
		require.NoError(t, err)
		require.NoError(t, w.Write(e))
	}
	require.NoError(t, w.Close())
	return b.String()
}

func TestOnline(t *testing.T) {
	m := recordtest.NewMemory(nil)
	for i := range 300 {
		_, err := m.Update(t.Context(), record.User, fmt.Sprint(i), record.Condition{}, record.Change{Value: []byte(`1`)})
		require.NoError(t, err)
	}
	before := collect(t, m.Walk(t.Context(), nil))
	o := &online{m, func(n int) {
		_, err := m.Update(t.Context(), record.User, fmt.Sprint(n%300), record.Condition{}, record.Change{Value: []byte(`2`)})
		require.NoError(t, err)
	}}
	to := recordtest.NewMemory(nil)
	imported(t, to, exported(t, o))
	got := map[string]uint64{}
	for _, r := range collect(t, to.Walk(t.Context(), nil)) {
		got[r.Key] = r.Revision
	}
	for _, r := range before {
		require.GreaterOrEqual(t, got[r.Key], r.Revision, "what was there when it began is in it, as it was or newer")
	}
}

// sourced is an engine that knows what it wrote.
type sourced struct {
	*recordtest.Memory
	head uint64
}

func (s sourced) Ahead(revision uint64) bool { return revision > s.head }

func TestIntoItself(t *testing.T) {
	m := full(t)
	text := exported(t, m)
	all := collect(t, m.Walk(t.Context(), nil))
	var own, last uint64
	for _, r := range all {
		if r.Source == m.Source() {
			own, last = own+1, max(last, r.Revision)
		}
	}
	// It has dropped everything since: what it wrote itself stays gone.
	empty := sourced{recordtest.NewMemory(nil), last}
	require.Equal(t, Imported{Records: uint64(len(all)), Taken: uint64(len(all)) - own, Left: own}, imported(t, empty, text))
	// It was put back to an older state: what it does not know of itself is reported.
	old := sourced{recordtest.NewMemory(nil), last - 1}
	require.Equal(t, Imported{Records: uint64(len(all)), Taken: uint64(len(all)) - own, Left: own - 1, Ahead: 1}, imported(t, old, text))
}

func TestImportFails(t *testing.T) {
	text := exported(t, full(t))
	to := recordtest.NewMemory(nil)
	to.Fail(record.ErrUnavailable)
	r, err := NewReader(bytes.NewReader(text))
	require.NoError(t, err)
	done, err := Import(t.Context(), to, r, 0)
	require.ErrorIs(t, err, record.ErrUnavailable)
	require.Zero(t, done.Taken)

	to.Fail(nil)
	r, err = NewReader(bytes.NewReader(text[:len(text)/2]))
	require.NoError(t, err)
	done, err = Import(t.Context(), to, r, 0)
	require.ErrorIs(t, err, ErrTruncated)
	require.NotZero(t, done.Taken, "what came before is kept")
	require.Len(t, collect(t, to.Walk(t.Context(), nil)), int(done.Taken))

	m := full(t)
	m.Fail(record.ErrUnavailable)
	w, err := NewWriter(io.Discard, Header{})
	require.NoError(t, err)
	_, err = Export(t.Context(), m, nil, w, 0)
	require.ErrorIs(t, err, record.ErrUnavailable)
}

// moody is an engine that is away at every other call.
type moody struct {
	*recordtest.Memory
	calls, walks int
}

func (m *moody) Import(ctx context.Context, records []record.Record) error {
	if m.calls++; m.calls%2 == 1 {
		return fmt.Errorf("slow: %w", record.ErrUnavailable)
	}
	return m.Memory.Import(ctx, records)
}

func (m *moody) Walk(ctx context.Context, since record.Position) iter.Seq2[record.Record, error] {
	m.walks++
	return func(yield func(record.Record, error) bool) {
		n := 0
		for r, err := range m.Memory.Walk(ctx, since) {
			if n++; n > 10 {
				r, err = record.Record{}, record.ErrUnavailable
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// TestPatience: an engine that is away for a moment is waited for; one that
// stays away is not for ever.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := full(t)
		text := exported(t, m)
		all := collect(t, m.Walk(t.Context(), nil))
		var b bytes.Buffer
		w, err := NewWriter(&b, Header{Source: "memory", Time: 1})
		require.NoError(t, err)
		from := &moody{Memory: m}
		done, err := Export(t.Context(), from, nil, w, time.Second)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		require.Equal(t, uint64(len(all)), done.Records)
		require.Equal(t, string(text), b.String(), "as if it had not been away")
		require.Equal(t, (len(all)+9)/10, from.walks)

		to := &moody{Memory: recordtest.NewMemory(nil)}
		r, err := NewReader(&b)
		require.NoError(t, err)
		got, err := Import(t.Context(), to, r, time.Second)
		require.NoError(t, err)
		require.Equal(t, Imported{Records: done.Records, Taken: done.Records}, got)
		require.Equal(t, all, collect(t, to.Memory.Walk(t.Context(), nil)))

		began := time.Now()
		to.Fail(record.ErrUnavailable)
		r, err = NewReader(bytes.NewReader(text))
		require.NoError(t, err)
		_, err = Import(t.Context(), to, r, 30*time.Second)
		require.ErrorIs(t, err, record.ErrUnavailable)
		m.Fail(record.ErrUnavailable)
		w, err = NewWriter(io.Discard, Header{})
		require.NoError(t, err)
		_, err = Export(t.Context(), m, nil, w, 30*time.Second)
		require.ErrorIs(t, err, record.ErrUnavailable)
		require.InDelta(t, 60, time.Since(began).Seconds(), 5)
	})
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken") }

func TestWriterFails(t *testing.T) {
	_, err := NewWriter(brokenWriter{}, Header{})
	require.ErrorContains(t, err, "broken")
}

// anyEntry draws everything that an engine may hold.
func anyEntry(t *rapid.T) Entry {
	text := rapid.OneOf(rapid.StringN(1, 60, record.MaxKey), rapid.Map(rapid.SliceOfN(rapid.ByteRange(1, 255), 1, record.MaxKey), func(b []byte) string { return string(b) }))
	value := rapid.OneOf(
		rapid.SliceOfN(rapid.Byte(), 0, 200),
		rapid.SampledFrom([][]byte{[]byte("null"), []byte(`{}`), []byte(`1.0`), []byte(`{"a":18446744073709551615}`), []byte("{\"a\":1}\n"), []byte(`"\u2028"`), []byte("\"\xff\""), []byte(`"<>&"`), bytes.Repeat([]byte("["), 9000), make([]byte, record.MaxValue)}),
	).Draw(t, "value")
	e := Entry{Record: record.Record{
		Topic: rapid.SampledFrom(record.Topics()).Draw(t, "topic"), Key: text.Draw(t, "key"), Source: text.Draw(t, "source"),
		Time: record.Time(rapid.Uint64Range(1, 1<<63).Draw(t, "time")), Revision: rapid.Uint64Min(1).Draw(t, "revision"),
		Expires: rapid.Int64Min(0).Draw(t, "expires"), Final: rapid.Bool().Draw(t, "final"), Value: value,
	}, Keep: rapid.Int64Min(0).Draw(t, "keep")}
	if e.Topic == record.Inventory {
		e.Member = text.Draw(t, "member")
	}
	if rapid.Bool().Draw(t, "deleted") {
		e.Deleted, e.Value = true, []byte{}
	}
	for _, s := range []*string{&e.Key, &e.Member, &e.Source} {
		if *s = strings.ReplaceAll(*s, "\x00", "\x01"); len(*s) > record.MaxKey {
			*s = (*s)[:record.MaxKey]
		}
	}
	return e
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.Custom(anyEntry), 0, 5).Draw(t, "records")
		var b bytes.Buffer
		w, err := NewWriter(&b, Header{Source: "x", Time: 2})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if err := w.Write(e); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := NewReader(&b)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range list {
			got, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(want.Value, got.Value) {
				t.Fatalf("value %q came back as %q", want.Value, got.Value)
			}
			want.Value, got.Value = nil, nil
			require.Equal(t, want, got)
		}
		if _, err := r.Next(); err != io.EOF {
			t.Fatalf("got %v at the end", err)
		}
	})
}

func FuzzReader(f *testing.F) {
	m := recordtest.NewMemory(nil)
	m.Inject(record.Record{Topic: record.User, Key: "k", Source: "s", Time: 1, Revision: 1, Value: []byte("{}")},
		record.Record{Topic: record.Inventory, Key: "\xff", Member: "m", Source: "s", Time: 1, Revision: 2, Value: []byte{0}})
	var b bytes.Buffer
	w, _ := NewWriter(&b, Header{})
	_, _ = Export(context.Background(), m, nil, w, 0)
	_ = w.Close()
	f.Add(b.Bytes())
	f.Add([]byte(`{"format":"oose-export","version":1,"time":0}` + "\n" + `{"error":"x"}` + "\n"))
	f.Add([]byte(`{"format":"oose-export","version":1,"time":0}` + "\n" + `{"topic":"user","key":"k","source":"s","time":"1","revision":1,"value":null}` + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := NewReader(bytes.NewReader(text))
		if err != nil {
			return
		}
		var again bytes.Buffer
		w, err := NewWriter(&again, r.Header())
		require.NoError(t, err)
		var list []Entry
		for {
			e, err := r.Next()
			if err != nil {
				require.True(t, errors.Is(err, io.EOF) || errors.Is(err, ErrFormat) || errors.Is(err, ErrTruncated), "%v", err)
				break
			}
			require.NoError(t, record.CheckRecord(e.Record))
			list = append(list, e)
			require.NoError(t, w.Write(e))
		}
		require.NoError(t, w.Close())
		r, err = NewReader(&again)
		require.NoError(t, err)
		for _, want := range list {
			got, err := r.Next()
			require.NoError(t, err)
			require.True(t, bytes.Equal(want.Value, got.Value))
			want.Value, got.Value = nil, nil
			require.Equal(t, want, got)
		}
	})
}
