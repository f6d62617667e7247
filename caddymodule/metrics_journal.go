package caddymodule

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ooseio/oose/journal"
)

// journalMetric is one figure of the journal.
type journalMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*journal.Stats) float64
}

func journalFigure(name, help string, kind prometheus.ValueType, value func(*journal.Stats) float64) journalMetric {
	return journalMetric{prometheus.NewDesc(metricPrefix+"journal_"+name, help, nil, nil), kind, value}
}

var journalMetrics = []journalMetric{
	journalFigure("commits_total", "Commits of the journal; each takes all updates that wait.", prometheus.CounterValue,
		func(s *journal.Stats) float64 { return float64(s.Commits) }),
	journalFigure("updates_total", "Updates that the journal committed.", prometheus.CounterValue,
		func(s *journal.Stats) float64 { return float64(s.Updates) }),
	journalFigure("conflicts_total", "Updates whose condition did not hold.", prometheus.CounterValue,
		func(s *journal.Stats) float64 { return float64(s.Conflicts) }),
	journalFigure("refused_total", "Updates that could not be written.", prometheus.CounterValue,
		func(s *journal.Stats) float64 { return float64(s.Refused) }),
	journalFigure("expired_total", "Records that went because they were due.", prometheus.CounterValue,
		func(s *journal.Stats) float64 { return float64(s.Expired) }),
	journalFigure("reads_total", "Lookups in the journal.", prometheus.CounterValue,
		func(s *journal.Stats) float64 { return float64(s.Gets) }),
	journalFigure("loads_total", "Lookups in the journal that memory could not answer.", prometheus.CounterValue,
		func(s *journal.Stats) float64 { return float64(s.Loads) }),
	journalFigure("size_bytes", "Bytes of the journal's tables.", prometheus.GaugeValue,
		func(s *journal.Stats) float64 { return float64(s.Size) }),
	journalFigure("free_bytes", "Bytes left on the journal's disk, -1 where that is not known.", prometheus.GaugeValue,
		func(s *journal.Stats) float64 { return float64(s.Free) }),
	journalFigure("failed", "Whether the journal takes no more writes until a restart.", prometheus.GaugeValue,
		func(s *journal.Stats) float64 { return number(s.Failure != "") }),
}

func collectJournal(ch chan<- prometheus.Metric, s *journal.Stats) {
	for _, m := range journalMetrics {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(s))
	}
	for topic, n := range s.Records {
		ch <- prometheus.MustNewConstMetric(recordsDesc, prometheus.GaugeValue, float64(n), string(topic))
	}
}

// collectCounters exports what handlers count. Their names are written in the
// code and begin with `stat.` or `error.`.
func collectCounters(ch chan<- prometheus.Metric, counters map[string]int64) {
	for name, n := range counters {
		kind, operation, _ := strings.Cut(name, ".")
		if role, ok := strings.CutSuffix(operation, ".content.bytesUploaded"); ok {
			ch <- prometheus.MustNewConstMetric(uploadedDesc, prometheus.CounterValue, float64(n), role)
			continue
		}
		result := "done"
		if kind == "error" {
			result = "failed"
		}
		ch <- prometheus.MustNewConstMetric(counterDesc, prometheus.CounterValue, float64(n), operation, result)
	}
}
