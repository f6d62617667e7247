package serve

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseRange(t *testing.T) {
	thousand := "bytes=" + strings.TrimSuffix(strings.Repeat("0-0,", 1000), ",")
	for _, tc := range []struct {
		header string
		size   int64
		want   []span
		err    error
	}{
		{"bytes=0-0", 10, []span{{0, 1}}, nil},
		{"bytes=0-9", 10, []span{{0, 10}}, nil},
		{"bytes=0-99", 10, []span{{0, 10}}, nil},
		{"bytes=3-", 10, []span{{3, 10}}, nil},
		{"bytes=-3", 10, []span{{7, 10}}, nil},
		{"bytes=-30", 10, []span{{0, 10}}, nil},
		{"Bytes=1-2", 10, []span{{1, 3}}, nil},
		{"bytes= 1-2 ", 10, []span{{1, 3}}, nil},
		{"bytes=1-2,,", 10, []span{{1, 3}}, nil},
		{"bytes=0-1, 4-5,-1", 10, []span{{0, 2}, {4, 6}, {9, 10}}, nil},
		{"bytes=0-1,20-30", 10, []span{{0, 2}}, nil},
		{"bytes=9-9223372036854775807", 10, []span{{9, 10}}, nil},
		{"bytes=9-99999999999999999999999", 10, []span{{9, 10}}, nil},

		{"bytes=10-", 10, nil, errUnsatisfiable},
		{"bytes=10-11", 10, nil, errUnsatisfiable},
		{"bytes=99999999999999999999999-", 10, nil, errUnsatisfiable},
		{"bytes=-0", 10, nil, errUnsatisfiable},
		{"bytes=10-,11-", 10, nil, errUnsatisfiable},

		{"", 10, nil, nil},
		{"bytes", 10, nil, nil},
		{"bytes=", 10, nil, nil},
		{"bytes=,", 10, nil, nil},
		{"bytes=-", 10, nil, nil},
		{"bytes=5", 10, nil, nil},
		{"bytes=a-b", 10, nil, nil},
		{"bytes=5-3", 10, nil, nil},
		{"bytes=1-2-3", 10, nil, nil},
		{"bytes=+1-2", 10, nil, nil},
		{"bytes=--1", 10, nil, nil},
		{"bytes=1 -2", 10, nil, nil},
		{"items=0-1", 10, nil, nil},
		{"bytes=0-", 0, nil, nil},
		{"bytes=-5", 0, nil, nil},
		{"bytes=0-3,2-5", 10, nil, nil},
		{"bytes=0-1,0-1", 10, nil, nil},
		{"bytes=0-4,5-9", 10, nil, nil},
		{"bytes=0-1,4-", 8, []span{{0, 2}, {4, 8}}, nil},
		{thousand, 10, nil, nil},
		{"bytes=" + strings.Repeat("1-1,", 15) + "3-3", 100, nil, nil}, // 16, overlapping
		{"bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14,16-16,18-18,20-20,22-22,24-24,26-26,28-28,30-30,32-32", 100, nil, nil},
	} {
		got, err := parseRange(tc.header, tc.size)
		require.Equal(t, tc.err, err, tc.header)
		require.Equal(t, tc.want, got, tc.header)
	}
}

func FuzzRange(f *testing.F) {
	for _, s := range []string{"bytes=0-0", "bytes=-1", "bytes=5-", "bytes=1-2,4-5", "bytes=9-3", "bytes=99999999999999999999-", "bytes=,,", "items=1-2", "bytes=0-1,1-2"} {
		f.Add(s, int64(10))
	}
	f.Add("bytes=0-", int64(0))
	f.Add("bytes=-9223372036854775807", int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, header string, size int64) {
		if size < 0 {
			return
		}
		spans, err := parseRange(header, size)
		if err != nil && len(spans) > 0 {
			t.Fatal("spans with an error")
		}
		if len(spans) > maxRanges {
			t.Fatalf("%d spans", len(spans))
		}
		var sum int64
		for _, s := range spans {
			if s.start < 0 || s.start >= s.end || s.end > size {
				t.Fatalf("span %v of %d", s, size)
			}
			sum += s.length()
		}
		if len(spans) > 1 && sum >= size {
			t.Fatalf("%d bytes of %d", sum, size)
		}
	})
}

// A request with very many ranges must not cost more than its bytes.
func BenchmarkThousandRanges(b *testing.B) {
	header := "bytes=" + strings.TrimSuffix(strings.Repeat("0-0,", 1000), ",")
	b.ReportAllocs()
	for b.Loop() {
		if spans, err := parseRange(header, 1<<30); spans != nil || err != nil {
			b.Fatal("honoured")
		}
	}
}
