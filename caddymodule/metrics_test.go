package caddymodule

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/ooseio/oose/handlers/delivery"
	"github.com/ooseio/oose/inventory"
	"github.com/ooseio/oose/journal"
	"github.com/ooseio/oose/record"
)

func TestRegisterInEachConfiguration(t *testing.T) {
	for range 2 { // each configuration has a registry of its own
		ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
		defer cancel()
		require.NoError(t, registerMetrics(ctx))
		require.NoError(t, registerMetrics(ctx), "the app may be provisioned by two paths")
		families, err := ctx.GetMetricsRegistry().Gather()
		require.NoError(t, err)
		var names []string
		for _, f := range families {
			names = append(names, f.GetName())
		}
		require.Contains(t, names, "caddy_oose_active_streams")
		require.Contains(t, names, "caddy_oose_token_lookups_total")
	}
}

func TestDeliveryMeter(t *testing.T) {
	m := newDeliveryMeter()
	registry := prometheus.NewRegistry()
	for _, c := range m.collectors {
		require.NoError(t, registry.Register(c))
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 100 {
				m.Stream(1)
				m.Request("purchase", 206, 10)
				m.Request("static", 404, 0)
				m.Lookup(delivery.LookupFound)
				m.Lookup("no such result")
				m.Failover()
				m.Hedge()
				m.Stream(-1)
			}
		})
	}
	all.Wait()
	m.Stream(1)
	got := gathered(t, registry)
	for metric, want := range map[string]float64{
		"caddy_oose_active_streams":                                      1,
		"caddy_oose_bytes_sent_total purchase":                           4000,
		"caddy_oose_bytes_sent_total static":                             0,
		"caddy_oose_http_requests_total 206 purchase":                    400,
		"caddy_oose_http_requests_total 404 static":                      400,
		"caddy_oose_stream_failovers_total":                              400,
		"caddy_oose_hedged_requests_total":                               400,
		"caddy_oose_token_lookups_total " + string(delivery.LookupFound): 400,
	} {
		require.Contains(t, got, metric)
		require.Equal(t, want, got[metric], metric)
	}
	require.Zero(t, testing.AllocsPerRun(100, func() { m.Request("purchase", 206, 10); m.Lookup(delivery.LookupFound) }))
}

// figures collects what a function sends, as one collector.
type figures func(chan<- prometheus.Metric)

func (f figures) Describe(ch chan<- *prometheus.Desc) { nodeCollector{}.Describe(ch) }
func (f figures) Collect(ch chan<- prometheus.Metric) { f(ch) }

func TestNodeFigures(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(figures(func(ch chan<- prometheus.Metric) {
		collectStore(ch, inventory.Status{Name: "om101", State: inventory.Online, Writable: true, Free: 5, Used: 3, Total: 10, Clones: 2,
			LastScan: &inventory.ScanResult{Finished: 1500, Appeared: 4}})
		collectStore(ch, inventory.Status{Name: "om102", State: inventory.Offline})
		collectScrub(ch, inventory.Status{Name: "om101", Scrub: inventory.ScrubStatus{Verified: 8, Bad: 1, Bytes: 9000, Due: 6, Oldest: 2500, Slow: true}})
		collectJournal(ch, &journal.Stats{Commits: 7, Records: map[record.Topic]int64{record.Purchase: 9}})
		collectCounters(ch, map[string]int64{"stat.prism.content.upload": 3, "error.prism.content.upload": 1, "stat.store.content.bytesUploaded": 12})
	}))
	got := gathered(t, registry)
	for metric, want := range map[string]float64{
		"caddy_oose_operations_total prism.content.upload done":   3,
		"caddy_oose_operations_total prism.content.upload failed": 1,
		"caddy_oose_upload_bytes_total store":                     12,
		"caddy_oose_store_bytes free om101":                       5,
		"caddy_oose_store_bytes used om101":                       3,
		"caddy_oose_store_bytes total om101":                      10,
		"caddy_oose_store_bytes total om102":                      0,
		"caddy_oose_store_last_scan_timestamp_seconds om101":      1.5,
		"caddy_oose_store_scan_findings appeared om101":           4,
		"caddy_oose_store_up om101":                               1,
		"caddy_oose_store_up om102":                               0,
		"caddy_oose_store_writable om101":                         1,
		"caddy_oose_store_files om101":                            2,
		"caddy_oose_scrub_checked_total om101":                    8,
		"caddy_oose_scrub_corrupt_total om101":                    1,
		"caddy_oose_scrub_read_bytes_total om101":                 9000,
		"caddy_oose_scrub_due_files om101":                        6,
		"caddy_oose_scrub_oldest_check_timestamp_seconds om101":   2.5,
		"caddy_oose_scrub_too_slow om101":                         1,
		"caddy_oose_journal_commits_total":                        7,
		"caddy_oose_records purchase":                             9,
	} {
		require.Contains(t, got, metric, slices.Sorted(maps.Keys(got)))
		require.Equal(t, want, got[metric], metric)
	}
	require.NotContains(t, got, "caddy_oose_store_last_scan_timestamp_seconds om102")
	require.NotContains(t, got, "caddy_oose_scrub_last_timestamp_seconds om101")
}

// gathered returns all counters and gauges by name and label values.
func gathered(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	got := map[string]float64{}
	for _, f := range families {
		require.True(t, strings.HasPrefix(f.GetName(), metricPrefix))
		require.NotEmpty(t, f.GetHelp())
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, label := range m.GetLabel() {
				name += " " + label.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return got
}
