package caddymodule

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ooseio/oose/inventory"
)

// scrubMetric is one figure of a store's scrub.
type scrubMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(inventory.ScrubStatus) (float64, bool)
}

func scrubCounter(name, help string, value func(inventory.ScrubStatus) int64) scrubMetric {
	return scrubMetric{storeDesc(name, help), prometheus.CounterValue, func(s inventory.ScrubStatus) (float64, bool) {
		return float64(value(s)), true
	}}
}

func scrubGauge(name, help string, value func(inventory.ScrubStatus) int64) scrubMetric {
	m := scrubCounter(name, help, value)
	m.kind = prometheus.GaugeValue
	return m
}

// scrubTime is a moment, which is left out while there was none.
func scrubTime(name, help string, value func(inventory.ScrubStatus) int64) scrubMetric {
	return scrubMetric{storeDesc(name, help), prometheus.GaugeValue, func(s inventory.ScrubStatus) (float64, bool) {
		milli := value(s)
		return float64(milli) / 1000, milli != 0
	}}
}

var scrubMetrics = []scrubMetric{
	scrubCounter("scrub_checked_total", "Clones that the scrub of a store read and found right.", func(s inventory.ScrubStatus) int64 { return s.Verified }),
	scrubCounter("scrub_corrupt_total", "Clones that the scrub of a store found wrong or unreadable and put into quarantine.", func(s inventory.ScrubStatus) int64 { return s.Bad }),
	scrubCounter("scrub_missing_total", "Clones whose file the scrub of a store did not find.", func(s inventory.ScrubStatus) int64 { return s.Missing }),
	scrubCounter("scrub_errors_total", "Clones that the scrub of a store could not judge.", func(s inventory.ScrubStatus) int64 { return s.Errors }),
	scrubCounter("scrub_read_bytes_total", "Bytes that the scrub of a store read.", func(s inventory.ScrubStatus) int64 { return s.Bytes }),
	scrubGauge("scrub_rate_bytes", "Bytes a second that the scrub of a store read lately.", func(s inventory.ScrubStatus) int64 { return s.Rate }),
	scrubGauge("scrub_due_files", "Clones of a store whose turn to be read it is.", func(s inventory.ScrubStatus) int64 { return s.Due }),
	scrubGauge("scrub_due_bytes", "The size of the clones of a store whose turn to be read it is.", func(s inventory.ScrubStatus) int64 { return s.DueBytes }),
	scrubGauge("scrub_unverified_files", "Clones of a store that were recorded on the operator's word and not read yet.", func(s inventory.ScrubStatus) int64 { return s.Unverified }),
	scrubTime("scrub_last_timestamp_seconds", "When a store's scrub last came to the end of a round, in seconds since 1970.", func(s inventory.ScrubStatus) int64 { return s.Finished }),
	scrubTime("scrub_oldest_check_timestamp_seconds", "When the clone of a store was verified whose verification is longest ago, in seconds since 1970.", func(s inventory.ScrubStatus) int64 { return s.Oldest }),
	{storeDesc("scrub_too_slow", "Whether the bandwidth that is set is too little to read all clones of a store within the period."), prometheus.GaugeValue, func(s inventory.ScrubStatus) (float64, bool) {
		return number(s.Slow), true
	}},
}

func collectScrub(ch chan<- prometheus.Metric, s inventory.Status) {
	for _, m := range scrubMetrics {
		if v, ok := m.value(s.Scrub); ok {
			ch <- prometheus.MustNewConstMetric(m.desc, m.kind, v, s.Name)
		}
	}
}
