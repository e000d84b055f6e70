// Package metrics holds the metrics of a server: its requests, the events that it merges and loses, its agents, and its
// certificates. No label comes from a client or an agent, so that the series are few.
package metrics

import (
	"path"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"google.golang.org/grpc/status"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// Metrics counts what a server does. It is safe for concurrent use; a nil *Metrics counts nothing.
type Metrics struct {
	open               *prometheus.GaugeVec
	requests           *prometheus.CounterVec
	duration           *prometheus.HistogramVec
	received, emitted  prometheus.Counter
	lost, certificates *prometheus.CounterVec
	delay              prometheus.Histogram
	merged             atomic.Uint64
}

// delaySample is of how many merged events one has its delay observed: it costs more than the merge of most.
const delaySample = 16

// New returns Metrics with nothing counted.
func New() *Metrics {
	counters := func(m *metric) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: m.name, Help: m.help}, m.labels)
	}
	histogram := func(m *metric) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Name: m.name, Help: m.help, Buckets: seconds,
			NativeHistogramBucketFactor: bucketFactor, NativeHistogramMaxBucketNumber: maxBuckets}
	}
	m := &Metrics{
		open:     prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: open.name, Help: open.help}, open.labels),
		requests: counters(&requests), lost: counters(&lost), certificates: counters(&certificates),
		duration: prometheus.NewHistogramVec(histogram(&duration), duration.labels),
		received: prometheus.NewCounter(prometheus.CounterOpts{Name: received.name, Help: received.help}),
		emitted:  prometheus.NewCounter(prometheus.CounterOpts{Name: emitted.name, Help: emitted.help}),
		delay:    prometheus.NewHistogram(histogram(&delay)),
	}
	// Those without a value yet are 0, not absent.
	for _, stage := range []event.LossStage{event.LossStage_LOSS_STAGE_QUEUE, event.LossStage_LOSS_STAGE_MERGE,
		event.LossStage_LOSS_STAGE_DECODE, event.LossStage_LOSS_STAGE_STREAM_GAP} {
		m.lost.WithLabelValues(stage.Word())
	}
	for _, result := range []Result{Signed, Denied, Failed} {
		m.certificates.WithLabelValues(string(result))
	}
	return m
}

// Bounds of histograms.
var seconds = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60}

const (
	bucketFactor = 1.2
	maxBuckets   = 100
)

// Begin counts a request of a gRPC method. end is called with its error.
func (m *Metrics) Begin(method string) (end func(error)) {
	if m == nil {
		return func(error) {}
	}
	began, name := time.Now(), path.Base(method)
	m.open.WithLabelValues(name).Inc()
	return func(err error) {
		m.open.WithLabelValues(name).Dec()
		m.requests.WithLabelValues(name, status.Code(err).String()).Inc()
		m.duration.WithLabelValues(name).Observe(time.Since(began).Seconds())
	}
}

// Received counts events that came from an agent.
func (m *Metrics) Received(events int) {
	if m != nil {
		m.received.Add(float64(events))
	}
}

// Merged counts an event that a merge has emitted. live: it is of a stream, so that its delay counts.
func (m *Metrics) Merged(ev *event.Event, live bool) {
	if m == nil {
		return
	}
	if l := ev.GetLost(); l != nil {
		switch l.GetStage() {
		case event.LossStage_LOSS_STAGE_MERGE, event.LossStage_LOSS_STAGE_DECODE,
			event.LossStage_LOSS_STAGE_STREAM_GAP: // the others are of agents, whose metrics have them
			m.lost.WithLabelValues(l.GetStage().Word()).Add(float64(l.GetCount()))
		}
		return
	}
	if ev.GetNodeStatus() != nil {
		return
	}
	m.emitted.Inc()
	if live && m.merged.Add(1)%delaySample == 0 {
		m.delay.Observe(max(time.Since(time.Unix(0, int64(ev.GetTime()))), 0).Seconds())
	}
}

// Dropped counts events that a slow client did not get.
func (m *Metrics) Dropped(events uint64) {
	if m != nil {
		m.lost.WithLabelValues(event.LossStage_LOSS_STAGE_QUEUE.Word()).Add(float64(events))
	}
}

// Result is what becomes of a user's request for a certificate.
type Result string

// Results.
const (
	Signed Result = "signed"
	Denied Result = "denied"
	Failed Result = "failed"
)

// Certificate counts a user's request for a certificate.
func (m *Metrics) Certificate(r Result) {
	if m != nil {
		m.certificates.WithLabelValues(string(r)).Inc()
	}
}

// Status is the state of a server. A zero time is unknown.
type Status struct {
	Version string
	// Agents are the numbers of agents by the state of the connection.
	Agents map[string]int
	// CertificateExpiry and AuthorityExpiry are the ends of the server's certificate and of its authority.
	CertificateExpiry, AuthorityExpiry time.Time
	// HeldBytes are held for requests, of at most LimitBytes.
	HeldBytes, LimitBytes int
	// Scrapes are the requests for metrics by the status code of the answer.
	Scrapes map[int]uint64
}

// collector exposes Metrics and the state of the server.
type collector struct {
	*Metrics
	status func() Status
	descs  map[string]*prometheus.Desc
}

// Register registers the metrics, with the state of the server and the metrics of its process.
func (m *Metrics) Register(r prometheus.Registerer, status func() Status) error {
	c := &collector{Metrics: m, status: status, descs: map[string]*prometheus.Desc{}}
	for _, g := range states {
		c.descs[g.name] = prometheus.NewDesc(g.name, g.help, g.labels, nil)
	}
	if err := r.Register(c); err != nil {
		return err
	}
	return r.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
}

// counted are the collectors of what is counted.
func (c *collector) counted() []prometheus.Collector {
	return []prometheus.Collector{c.open, c.requests, c.duration, c.received, c.emitted, c.lost, c.delay,
		c.certificates}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, counted := range c.counted() {
		counted.Describe(out)
	}
	for _, d := range c.descs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	for _, counted := range c.counted() {
		counted.Collect(out)
	}
	s := c.status()
	emit := func(m *metric, value float64, labels ...string) {
		kind := prometheus.GaugeValue
		if m.kind == "counter" {
			kind = prometheus.CounterValue
		}
		out <- prometheus.MustNewConstMetric(c.descs[m.name], kind, value, labels...)
	}
	for state, n := range s.Agents {
		emit(&agents, float64(n), state)
	}
	for _, e := range []struct {
		metric *metric
		at     time.Time
	}{{&certificateExpiry, s.CertificateExpiry}, {&authorityExpiry, s.AuthorityExpiry}} {
		if !e.at.IsZero() {
			emit(e.metric, float64(e.at.Unix()))
		}
	}
	emit(&heldBytes, float64(s.HeldBytes))
	emit(&limitBytes, float64(s.LimitBytes))
	for code, n := range s.Scrapes {
		emit(&scrapes, float64(n), strconv.Itoa(code))
	}
	emit(&info, 1, s.Version)
}
