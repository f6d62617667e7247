package caddymodule

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ooseio/oose/handlers/demand"
)

// demandMetric is one figure of the copies on demand.
type demandMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*demand.Status) int64
}

func demandDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(metricPrefix+"demand_"+name, help, nil, nil)
}

var demandMetrics = []demandMetric{
	{demandDesc("hot_files", "Contents that clients of this node ask for so often that other stores are asked to take them in."), prometheus.GaugeValue, func(s *demand.Status) int64 { return s.Hot }},
	{demandDesc("copies", "Copies of these at other stores, which are read and are no clones."), prometheus.GaugeValue, func(s *demand.Status) int64 { return s.Copies }},
	{demandDesc("asked_total", "Times that a store elsewhere was asked to take content in, or to keep it."), prometheus.CounterValue, func(s *demand.Status) int64 { return s.Asked }},
	{demandDesc("refused_total", "Times that a store elsewhere did not take content in."), prometheus.CounterValue, func(s *demand.Status) int64 { return s.Refused }},
	{demandDesc("reads_total", "Requests that were served from copies at other stores."), prometheus.CounterValue, func(s *demand.Status) int64 { return s.Read }},
	{demandDesc("taken_total", "Copies that stores of this node began to fetch for other nodes."), prometheus.CounterValue, func(s *demand.Status) int64 { return s.Taken }},
	{demandDesc("lent_total", "Reads of copies at stores of this node by other nodes."), prometheus.CounterValue, func(s *demand.Status) int64 { return s.Lent }},
}

func collectDemand(ch chan<- prometheus.Metric, s *demand.Status) {
	for _, m := range demandMetrics {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, float64(m.value(s)))
	}
}
