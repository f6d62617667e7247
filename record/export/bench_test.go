package export

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/record"
	"github.com/ooseio/oose/redisdb/redistest"
)

const benchRecords = 50_000

// benchExport is an export of purchases and clones, half of each.
func benchExport(b *testing.B) []byte {
	b.Helper()
	var text bytes.Buffer
	w, err := NewWriter(&text, Header{})
	require.NoError(b, err)
	soon := time.Now().Add(time.Hour).UnixMilli()
	for i := range benchRecords {
		r := record.Record{
			Topic: record.Purchase, Key: fmt.Sprintf("a20261120%011d", i), Source: "other", Revision: uint64(i + 1),
			Time: record.TimeOf(time.Now()), Expires: soon,
			Value: fmt.Appendf(nil, `{"hash":"2aae6c35c94fcfb415dbe95f408b9ce91ee846ed","ext":"mp4","made":1795195508082,"expires":%d}`, soon),
		}
		if i%2 == 0 {
			r.Topic, r.Key, r.Member, r.Expires = record.Inventory, fmt.Sprintf("%040x", i), "5e4ade3129903008cca36e1c880361c4", 0
		}
		require.NoError(b, w.Write(Entry{Record: r}))
	}
	require.NoError(b, w.Close())
	return text.Bytes()
}

func benchEngines(b *testing.B, work func(b *testing.B, e engine, text []byte)) {
	text := benchExport(b)
	b.Run("badger", func(b *testing.B) { work(b, openJournal(b), text) })
	b.Run("redis", func(b *testing.B) { work(b, openRedis(b, redistest.Start(b), "A"), text) })
}

func importText(b *testing.B, e engine, text []byte) Imported {
	b.Helper()
	r, err := NewReader(bytes.NewReader(text))
	require.NoError(b, err)
	done, err := Import(context.Background(), e, r, time.Minute)
	require.NoError(b, err)
	return done
}

// BenchmarkImport takes records into an engine that has them (the first time
// into an empty one).
func BenchmarkImport(b *testing.B) {
	benchEngines(b, func(b *testing.B, e engine, text []byte) {
		began := time.Now()
		importText(b, e, text)
		first := benchRecords / time.Since(began).Seconds()
		for b.Loop() {
			require.Zero(b, importText(b, e, text).Taken)
		}
		b.ReportMetric(first, "first-records/s")
		b.ReportMetric(benchRecords*float64(b.N)/b.Elapsed().Seconds(), "again-records/s")
	})
}

func BenchmarkExport(b *testing.B) {
	benchEngines(b, func(b *testing.B, e engine, text []byte) {
		importText(b, e, text)
		for b.Loop() {
			w, err := NewWriter(io.Discard, Header{})
			require.NoError(b, err)
			done, err := Export(context.Background(), e, nil, w, time.Minute)
			require.NoError(b, err)
			require.Equal(b, uint64(benchRecords), done.Records)
		}
		b.ReportMetric(benchRecords*float64(b.N)/b.Elapsed().Seconds(), "records/s")
	})
}
