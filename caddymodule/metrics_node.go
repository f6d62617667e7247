package caddymodule

import (
	"errors"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ooseio/oose/inventory"
)

// nodeCollector reads the node's own figures when they are asked for.
type nodeCollector struct{}

// storeMetric is one figure of a store.
type storeMetric struct {
	desc  *prometheus.Desc
	value func(inventory.Status) (float64, bool)
}

func storeDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(metricPrefix+name, help, append([]string{"store"}, labels...), nil)
}

var (
	storeBytes    = storeDesc("store_bytes", "Bytes of a store's disk: used by clones, free for new ones, and of the file system.", "state")
	storeFindings = storeDesc("store_scan_findings", "What the last scan of a store found, by kind.", "finding")
	counterDesc   = prometheus.NewDesc(metricPrefix+"operations_total", "What this node did, by the name that /stats gives it, and whether it failed.", []string{"operation", "result"}, nil)
	uploadedDesc  = prometheus.NewDesc(metricPrefix+"upload_bytes_total", "Bytes of content taken in, by the role that took them.", []string{"role"}, nil)
	recordsDesc   = prometheus.NewDesc(metricPrefix+"records", "Records kept, by topic.", []string{"topic"}, nil)

	storeMetrics = []storeMetric{
		{storeDesc("store_up", "Whether a store's clones can be read."), func(s inventory.Status) (float64, bool) {
			return number(s.State != inventory.Offline), true
		}},
		{storeDesc("store_writable", "Whether a store takes new clones."), func(s inventory.Status) (float64, bool) {
			return number(s.Writable), true
		}},
		{storeDesc("store_files", "Clones that a store holds, about."), func(s inventory.Status) (float64, bool) {
			return float64(s.Clones), true
		}},
		{storeDesc("store_in_flight", "Uses of a store that are running now."), func(s inventory.Status) (float64, bool) {
			return float64(s.InFlight), true
		}},
		{storeDesc("store_scanning", "Whether a store is being scanned now."), func(s inventory.Status) (float64, bool) {
			return number(s.Scanning), true
		}},
		{storeDesc("store_last_scan_timestamp_seconds", "When the last scan of a store finished, in seconds since 1970."), func(s inventory.Status) (float64, bool) {
			if s.LastScan == nil {
				return 0, false
			}
			return float64(s.LastScan.Finished) / 1000, true
		}},
	}
)

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Describe implements prometheus.Collector.
func (nodeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range storeMetrics {
		ch <- m.desc
	}
	for _, d := range []*prometheus.Desc{storeBytes, storeFindings, counterDesc, uploadedDesc, recordsDesc} {
		ch <- d
	}
	for _, m := range journalMetrics {
		ch <- m.desc
	}
	for _, m := range scrubMetrics {
		ch <- m.desc
	}
	for _, m := range repairMetrics {
		ch <- m.desc
	}
	for _, m := range demandMetrics {
		ch <- m.desc
	}
}

// activeApp returns the app of the configuration that is active now.
func activeApp() (*App, error) {
	loaded, err := caddy.ActiveContext().AppIfConfigured("oose")
	if err != nil {
		return nil, err
	}
	app, ok := loaded.(*App)
	if !ok {
		return nil, errors.New("the app oose is another module's")
	}
	return app, nil
}

// Collect implements prometheus.Collector. Where no node is open there is
// nothing to tell.
func (nodeCollector) Collect(ch chan<- prometheus.Metric) {
	app, err := activeApp()
	if err != nil {
		return
	}
	n, release, err := app.Acquire()
	if err != nil {
		return
	}
	defer release()
	for _, v := range n.Volumes() {
		s := v.Status()
		collectStore(ch, s)
		collectScrub(ch, s)
	}
	if j := n.Journal(); j != nil {
		stats := j.Stats()
		collectJournal(ch, &stats)
	}
	repairing := n.Repair().Status()
	collectRepair(ch, &repairing)
	if demanded, ok := n.Demand(); ok {
		collectDemand(ch, &demanded)
	}
	collectCounters(ch, n.Counters.Flat())
}

func collectStore(ch chan<- prometheus.Metric, s inventory.Status) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{s.Name}, labels...)...)
	}
	for _, m := range storeMetrics {
		if v, ok := m.value(s); ok {
			gauge(m.desc, v)
		}
	}
	gauge(storeBytes, float64(s.Free), "free")
	gauge(storeBytes, float64(s.Used), "used")
	gauge(storeBytes, float64(s.Total), "total")
	if r := s.LastScan; r != nil {
		for finding, n := range map[string]int64{
			"appeared": r.Appeared, "vanished": r.Vanished, "changed": r.Changed, "failed": r.Failed,
			"dropped": r.Dropped, "duplicates": r.Duplicates, "foreign": r.Foreign, "errors": r.Errors,
		} {
			gauge(storeFindings, float64(n), finding)
		}
	}
}
