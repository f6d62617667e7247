package journal

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/ooseio/oose/record"
)

var benchRecords = flag.Int("journal.records", 100_000, "records of the catch-up benchmarks")

const benchSource = "abcdefghijklmnopqrstuvwxyz"

// purchases writes a stream of purchases as a server does, with a mark behind
// them; the reader closes it.
func purchases(w io.Writer, n int) error {
	out := appendPreface(nil)
	out = begin{source: benchSource, head: uint64(n), claim: uint64(n)}.appendTo(out)
	random := rand.New(rand.NewPCG(1, 2))
	expires := time.Now().Add(24 * time.Hour).UnixMilli()
	f := frame{kind: recordsFrame}
	for i := range n {
		r := record.Record{
			Topic: record.Purchase, Key: fmt.Sprintf("a20261120%011x", random.Uint64()>>20), Source: benchSource,
			Time: record.TimeOf(time.Now()), Expires: expires, Revision: uint64(i + 1), Value: []byte(purchaseValue),
		}
		f.addRecord(recordKey(&r), r.Source, encodeRecord(&r))
		if f.full() || i == n-1 {
			out = f.appendTo(out)
			if _, err := w.Write(out); err != nil {
				return err
			}
			out, f = out[:0], frame{kind: recordsFrame, body: f.body[:0]}
		}
	}
	_, err := w.Write(status{claim: uint64(n)}.appendTo(nil))
	return err
}

// fillUp gives a journal the purchases of another source.
func fillUp(b *testing.B, j *running, n int) {
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(purchases(w, n)) }()
	err := j.Follow(context.Background(), benchSource, "filler", r, nil)
	require.ErrorIs(b, err, io.EOF)
	require.EqualValues(b, n, j.Claims()[benchSource])
}

// BenchmarkCatchUp has a fresh node catch up: with a stream from memory, with
// one of another journal in the same process, and for comparison what Badger
// itself takes for the same keys in transactions as large.
//
//	go test -run '^$' -bench CatchUp -benchtime 1x ./journal -args -journal.records 1000000
func BenchmarkCatchUp(b *testing.B) {
	n := *benchRecords
	report := func(b *testing.B) {
		b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
	}
	b.Run("badger", func(b *testing.B) {
		for b.Loop() {
			bareBadger(b, n)
		}
		report(b)
	})
	b.Run("follower", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			j := benchStart(b)
			b.StartTimer()
			fillUp(b, j, n)
			b.StopTimer()
			j.stop()
			b.StartTimer()
		}
		report(b)
	})
	b.Run("server", func(b *testing.B) {
		server := benchStart(b)
		fillUp(b, server, n)
		b.ResetTimer()
		for b.Loop() {
			err := server.Stream(context.Background(), benchSource, 0, io.Discard, func() error { return io.ErrClosedPipe })
			require.ErrorIs(b, err, io.ErrClosedPipe)
		}
		report(b)
	})
	b.Run("both", func(b *testing.B) {
		server := benchStart(b)
		fillUp(b, server, n)
		b.ResetTimer()
		for b.Loop() {
			b.StopTimer()
			j := benchStart(b)
			debug.FreeOSMemory()
			b.StartTimer()
			caught := make(chan struct{})
			l := follow(j.Journal, server.Journal, benchSource, func(uint64) { close(caught) })
			<-caught
			b.StopTimer()
			var mem runtime.MemStats
			runtime.ReadMemStats(&mem)
			b.ReportMetric(float64(mem.HeapSys-mem.HeapReleased)/(1<<20), "MiB-heap")
			l.cut()
			require.Equal(b, server.Digests(), j.Digests())
			j.stop()
			b.StartTimer()
		}
		report(b)
	})
}

func bareBadger(b *testing.B, n int) {
	db, err := badger.Open(badgerOptions(b.TempDir(), zap.NewNop(), false))
	require.NoError(b, err)
	defer db.Close()
	expires := time.Now().Add(24 * time.Hour).UnixMilli()
	for at := 0; at < n; at += maxChanges {
		txn := db.NewTransaction(true)
		for i := at; i < min(n, at+maxChanges); i++ {
			r := record.Record{
				Topic: record.Purchase, Key: fmt.Sprintf("a20261120%011x", rand.Uint64()>>20), Source: benchSource,
				Time: record.TimeOf(time.Now()), Expires: expires, Revision: uint64(i + 1), Value: []byte(purchaseValue),
			}
			key := recordKey(&r)
			due, _ := hintOf(&r)
			require.NoError(b, txn.Set(key, encodeRecord(&r)))
			require.NoError(b, txn.Set(hint{due, key}.encode(), nil))
			require.NoError(b, txn.Set(revisionKey(r.Source, r.Revision), key))
		}
		require.NoError(b, txn.Commit())
	}
}
