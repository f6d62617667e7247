package caddymodule

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ooseio/oose/heartbeat/monitor"
)

// heartbeatMetric is one figure of the heartbeat.
type heartbeatMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*monitor.Status) float64
}

func heartbeatFigure(name, help string, kind prometheus.ValueType, value func(*monitor.Status) float64) heartbeatMetric {
	return heartbeatMetric{prometheus.NewDesc(metricPrefix+"heartbeat_"+name, help, nil, nil), kind, value}
}

var (
	probeSeconds = prometheus.NewDesc(metricPrefix+"heartbeat_probe_seconds", "How long probes took that other nodes answered.", nil, nil)

	heartbeatMetrics = []heartbeatMetric{
		heartbeatFigure("votes", "Down votes of all nodes that are alive now.", prometheus.GaugeValue,
			func(s *monitor.Status) float64 { return float64(s.Votes) }),
		heartbeatFigure("nodes_away", "Other nodes that are not available now, by votes or because this node does not reach them.", prometheus.GaugeValue,
			func(s *monitor.Status) float64 {
				away := 0
				for _, n := range s.Nodes {
					if n.Standing.Away() {
						away++
					}
				}
				return float64(away)
			}),
		heartbeatFigure("doubting", "Whether this node reaches next to none of the others, and casts no votes.", prometheus.GaugeValue,
			func(s *monitor.Status) float64 { return number(s.Doubting) }),
		heartbeatFigure("votes_cast_total", "Down votes that this node has cast.", prometheus.CounterValue,
			func(s *monitor.Status) float64 { return float64(s.Figures.Cast) }),
		heartbeatFigure("votes_withdrawn_total", "Down votes that this node has withdrawn.", prometheus.CounterValue,
			func(s *monitor.Status) float64 { return float64(s.Figures.Withdrawn) }),
		heartbeatFigure("downs_total", "How often another node has become unavailable.", prometheus.CounterValue,
			func(s *monitor.Status) float64 { return float64(s.Figures.Downs) }),
		heartbeatFigure("probes_failed_total", "Probes that were not answered as they should, or not in time.", prometheus.CounterValue,
			func(s *monitor.Status) float64 { return float64(s.Figures.Failed) }),
	}
)

// heartbeatCollector reads what the heartbeat knows when it is asked for.
type heartbeatCollector struct{}

// Describe implements prometheus.Collector.
func (heartbeatCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range heartbeatMetrics {
		ch <- m.desc
	}
	ch <- probeSeconds
}

// Collect implements prometheus.Collector. Where no node is open, or it is
// alone, there is nothing to tell.
func (heartbeatCollector) Collect(ch chan<- prometheus.Metric) {
	app, err := activeApp()
	if err != nil {
		return
	}
	n, release, err := app.Acquire()
	if err != nil {
		return
	}
	defer release()
	s := n.Heartbeat()
	if s == nil {
		return
	}
	for _, m := range heartbeatMetrics {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(s))
	}
	buckets := make(map[float64]uint64, len(monitor.Buckets))
	for i, most := range monitor.Buckets {
		buckets[most] = s.Figures.Buckets[i]
	}
	ch <- prometheus.MustNewConstHistogram(probeSeconds, s.Figures.Probes-s.Figures.Failed, s.Figures.Seconds, buckets)
}

// Interface guards
var _ prometheus.Collector = heartbeatCollector{}
