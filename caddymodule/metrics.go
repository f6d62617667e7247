package caddymodule

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ooseio/oose/handlers/delivery"
)

// meter counts what this process does, through all its configurations. Labels
// are taken from fixed lists and from the names of stores; none ever holds a
// token, a hash, a file's name or an address.
var meter = newDeliveryMeter()

const metricPrefix = "caddy_oose_"

// registerMetrics makes the metrics of this process part of a configuration's
// registry, which is a new one for each.
func registerMetrics(ctx caddy.Context) error {
	registry := ctx.GetMetricsRegistry()
	if registry == nil {
		return nil
	}
	for _, c := range append(meter.collectors, nodeCollector{}, heartbeatCollector{}) {
		err := registry.Register(c)
		if err != nil && !errors.As(err, new(prometheus.AlreadyRegisteredError)) {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	return nil
}

// deliveryMeter is told what delivery does. It takes no lock that requests
// share.
type deliveryMeter struct {
	requests   *prometheus.CounterVec
	sent       *prometheus.CounterVec
	lookups    map[delivery.Lookup]prometheus.Counter // not changed any more
	collectors []prometheus.Collector

	streams   atomic.Int64
	failovers atomic.Uint64
	hedges    atomic.Uint64

	mu    sync.Mutex // taken to add to known
	known atomic.Pointer[map[requestLabels]requestCounters]
}

// requestLabels tell the counters of requests apart.
type requestLabels struct {
	kind   delivery.Kind
	status int
}

type requestCounters struct{ requests, sent prometheus.Counter }

func newDeliveryMeter() *deliveryMeter {
	m := &deliveryMeter{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: metricPrefix + "http_requests_total",
			Help: "Requests for content that were answered, by kind of route and status.",
		}, []string{"kind", "code"}),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: metricPrefix + "bytes_sent_total",
			Help: "Bytes of content sent, by kind of route.",
		}, []string{"kind"}),
		lookups: make(map[delivery.Lookup]prometheus.Counter),
	}
	lookups := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: metricPrefix + "token_lookups_total",
		Help: "Lookups of purchases by their tokens, by how they ended.",
	}, []string{"result"})
	m.known.Store(&map[requestLabels]requestCounters{})
	for _, result := range []delivery.Lookup{
		delivery.LookupFound, delivery.LookupUnknown, delivery.LookupExpired,
		delivery.LookupRefused, delivery.LookupSpent, delivery.LookupError,
	} {
		m.lookups[result] = lookups.WithLabelValues(string(result))
	}
	m.collectors = []prometheus.Collector{
		m.requests, m.sent, lookups,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: metricPrefix + "active_streams",
			Help: "Bodies that are being sent now.",
		}, func() float64 { return float64(m.streams.Load()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: metricPrefix + "stream_failovers_total",
			Help: "Bodies that another clone had to take over.",
		}, func() float64 { return float64(m.failovers.Load()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: metricPrefix + "hedged_requests_total",
			Help: "First bytes that were asked of a further store because the one before was slow.",
		}, func() float64 { return float64(m.hedges.Load()) }),
	}
	return m
}

// Request implements delivery.Metrics.
func (m *deliveryMeter) Request(kind delivery.Kind, status int, sent int64) {
	labels := requestLabels{kind, status}
	c, ok := (*m.known.Load())[labels]
	if !ok {
		c = m.learn(labels)
	}
	c.requests.Inc()
	if sent > 0 {
		c.sent.Add(float64(sent))
	}
}

// learn makes the counters of labels that come for the first time. There are a
// handful of kinds and a few dozen statuses.
func (m *deliveryMeter) learn(labels requestLabels) requestCounters {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := maps.Clone(*m.known.Load())
	c := requestCounters{
		requests: m.requests.WithLabelValues(string(labels.kind), strconv.Itoa(labels.status)),
		sent:     m.sent.WithLabelValues(string(labels.kind)),
	}
	known[labels] = c
	m.known.Store(&known)
	return c
}

// Stream implements delivery.Metrics.
func (m *deliveryMeter) Stream(change int) { m.streams.Add(int64(change)) }

// Failover implements delivery.Metrics.
func (m *deliveryMeter) Failover() { m.failovers.Add(1) }

// Hedge implements delivery.Hedger.
func (m *deliveryMeter) Hedge() { m.hedges.Add(1) }

// Lookup implements delivery.Metrics.
func (m *deliveryMeter) Lookup(result delivery.Lookup) {
	if c, ok := m.lookups[result]; ok {
		c.Inc()
	}
}

// Interface guards
var (
	_ delivery.Metrics = (*deliveryMeter)(nil)
	_ delivery.Hedger  = (*deliveryMeter)(nil)
)
