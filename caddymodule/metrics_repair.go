package caddymodule

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ooseio/oose/handlers/repair"
)

// repairMetric is one figure of what this node repairs. The cluster's is the sum
// of its nodes'.
type repairMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*repair.Status) int64
}

func repairDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(metricPrefix+"repair_"+name, help, nil, nil)
}

var repairMetrics = []repairMetric{
	{repairDesc("missing_clones", "Clones that this node is to make."), prometheus.GaugeValue, func(s *repair.Status) int64 { return s.Missing }},
	{repairDesc("urgent_clones", "Clones that this node is to make of contents that have one good clone left, or none."), prometheus.GaugeValue, func(s *repair.Status) int64 { return s.Urgent }},
	{repairDesc("waiting_files", "Contents here whose missing clones another node is to make."), prometheus.GaugeValue, func(s *repair.Status) int64 { return s.Waiting }},
	{repairDesc("surplus_clones", "Clones of this node's stores that are not needed."), prometheus.GaugeValue, func(s *repair.Status) int64 { return s.Surplus }},
	{repairDesc("running", "Clones that are being made now."), prometheus.GaugeValue, func(s *repair.Status) int64 { return int64(len(s.Copying)) }},
	{repairDesc("held_stores", "Stores that would be taken for lost, were not too many away at once."), prometheus.GaugeValue, func(s *repair.Status) int64 { return int64(s.Held) }},
	{repairDesc("copied_clones_total", "Clones that were made."), prometheus.CounterValue, func(s *repair.Status) int64 { return s.Copied }},
	{repairDesc("copied_bytes_total", "Bytes that were sent to make clones."), prometheus.CounterValue, func(s *repair.Status) int64 { return s.Bytes }},
	{repairDesc("verified_bytes_total", "Bytes that were read so that other stores may drop their clones."), prometheus.CounterValue, func(s *repair.Status) int64 { return s.Verified }},
	{repairDesc("dropped_clones_total", "Clones that were dropped because others are kept."), prometheus.CounterValue, func(s *repair.Status) int64 { return s.Dropped }},
	{repairDesc("failures_total", "Attempts at repairing that failed."), prometheus.CounterValue, func(s *repair.Status) int64 { return s.Failed }},
}

func collectRepair(ch chan<- prometheus.Metric, s *repair.Status) {
	for _, m := range repairMetrics {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, float64(m.value(s)))
	}
}
