package metrics

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Program is a loaded BPF program.
type Program struct {
	Probe, Name string
	// RunNanos and Runs are 0 unless the kernel counts them. Instructions are those that the verifier processed; 0:
	// unknown.
	RunNanos, Runs uint64
	Instructions   uint32
}

// Status is the state of the agent. A zero time or limit is unknown.
type Status struct {
	Version, Kernel        string
	CPUMicros, MemoryBytes uint64
	// Started, CertificateExpiry and HistoryOldest are in ns since the Unix epoch; 0: unknown.
	Started, CertificateExpiry, HistoryOldest   uint64
	Observing, ConfigError                      bool
	Warnings                                    int
	Refused                                     uint64
	HistoryEvents, HistoryBytes, HistoryMaximum uint64
	Programs                                    []Program
	// ProgramsLoaded is when they were loaded, ns since the Unix epoch; 0: unknown.
	ProgramsLoaded uint64
	// ProgramsTimed: the kernel counts what programs take.
	ProgramsTimed bool
	// Export is the state of the export of events; nil: there is none.
	Export *Export
}

// Export is the state of the export of events.
type Export struct {
	Sent, QueueBytes, LimitBytes uint64
	Failing                      bool
	// Lost are the records that were not delivered, by reason.
	Lost map[string]uint64
	// SentPoints, FailingPoints and LostPoints are those of the metrics.
	SentPoints    uint64
	FailingPoints bool
	LostPoints    map[string]uint64
}

// Collector exposes a Table, and the state of the agent. It is a prometheus.Collector.
type Collector struct {
	table  *Table
	status func() Status
	// requests returns how many requests were answered with each status code.
	requests func() map[int]uint64
	descs    [numFamilies][]*prometheus.Desc
}

// NewCollector returns a Collector. requests may be nil.
func NewCollector(t *Table, status func() Status, requests func() map[int]uint64) *Collector {
	c := &Collector{table: t, status: status, requests: requests}
	for i := range families {
		for _, m := range families[i].metrics {
			c.descs[i] = append(c.descs[i], prometheus.NewDesc(m.name, m.help, nil, nil))
		}
	}
	return c
}

// Describe describes nothing: the labels depend on the configuration. Each scrape is still checked.
func (c *Collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	samples := c.table.snapshot()
	status := c.status()
	b := builder{samples: samples, created: timestamp(status.Started)}
	b.addStatus(&status)
	if c.requests != nil {
		b.created = timestamp(status.Started)
		codes := c.requests()
		for _, code := range slices.Sorted(maps.Keys(codes)) {
			b.add(famRefused, 1, []uint64{codes[code]}, strconv.Itoa(code))
		}
	}
	for i := range b.samples {
		s := &b.samples[i]
		s.desc = c.descs[s.family][s.metric]
		out <- s
	}
}

// sample is one value. It is a prometheus.Metric.
type sample struct {
	desc   *prometheus.Desc
	family familyID
	metric uint8
	pairs  []*dto.LabelPair
	value  float64
	hist   *histogram
	// created is when a counter or a histogram was 0; nil: unknown.
	created *timestamppb.Timestamp
}

// Desc implements prometheus.Metric.
func (s *sample) Desc() *prometheus.Desc { return s.desc }

// Write implements prometheus.Metric.
func (s *sample) Write(out *dto.Metric) error {
	out.Label = s.pairs
	switch {
	case s.hist != nil:
		out.Histogram = s.hist.write()
		out.Histogram.CreatedTimestamp = s.created
	case families[s.family].metrics[s.metric].kind == gauge:
		out.Gauge = &dto.Gauge{Value: &s.value}
	default:
		out.Counter = &dto.Counter{Value: &s.value, CreatedTimestamp: s.created}
	}
	return nil
}

// builder collects samples.
type builder struct {
	samples []sample
	created *timestamppb.Timestamp // of those that follow
}

// timestamp is of ns since the Unix epoch; nil for 0, which is unknown.
func timestamp(ns uint64) *timestamppb.Timestamp {
	if ns == 0 {
		return nil
	}
	return timestamppb.New(time.Unix(0, int64(ns)))
}

// add adds the known values of a row with the labels of a family.
func (b *builder) add(id familyID, known uint64, values []uint64, labels ...string) {
	var pairs []*dto.LabelPair
	for i, name := range families[id].labels {
		if labels[i] != "" {
			pairs = append(pairs, &dto.LabelPair{Name: new(name), Value: new(string(safeLabel([]byte(labels[i]))))})
		}
	}
	slices.SortFunc(pairs, comparePairs)
	b.addRow(id, known, values, pairs)
}

func (b *builder) addRow(id familyID, known uint64, values []uint64, pairs []*dto.LabelPair) {
	for i, m := range families[id].metrics {
		if known&(1<<i) == 0 {
			continue
		}
		value := float64(values[i])
		if m.kind == gauge {
			value = float64(int64(values[i])) // of sums of which parts may go before others
		}
		if m.unit != 0 {
			value *= m.unit
		}
		b.samples = append(b.samples, sample{family: id, metric: uint8(i), pairs: pairs, value: value,
			created: b.created})
	}
}

// snapshot returns the values of all rows.
func (t *Table) snapshot() []sample {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.time = t.now().Unix()
	t.sweep()
	b := builder{samples: make([]sample, 0, t.series+64)}
	for _, r := range t.rows {
		b.created = r.created
		if r.hist == nil {
			b.addRow(r.id, r.known, r.values, r.pairs)
		} else if r.hist.count > 0 {
			b.samples = append(b.samples, sample{family: r.id, pairs: r.pairs, hist: new(*r.hist), created: r.created})
		}
	}
	b.created = t.created
	for id := range numFamilies {
		if t.of[id].rows == 0 && t.of[id].folded == 0 {
			continue
		}
		tracked, untracked, known := uint64(0), uint64(0), uint64(0b11)
		if id == famNetwork {
			tracked, untracked, known = uint64(len(t.flows.all)), t.untracked, 0b1111
		}
		b.add(famTable, known, []uint64{uint64(t.of[id].series), t.of[id].folded, tracked, untracked},
			families[id].name)
	}
	return b.samples
}

// addStatus adds the state of the agent.
func (b *builder) addStatus(s *Status) {
	values := make([]uint64, len(statusFamily.metrics))
	known := uint64(1)<<len(values) - 1
	set := func(i int, v uint64, isKnown bool) {
		values[i] = v
		if !isKnown {
			known &^= 1 << i
		}
	}
	set(statCPU, s.CPUMicros, true)
	set(statMemory, s.MemoryBytes, s.MemoryBytes > 0)
	set(statStart, s.Started, true)
	set(statObserving, oneIf(s.Observing), true)
	set(statConfigError, oneIf(s.ConfigError), true)
	set(statWarnings, uint64(s.Warnings), true)
	set(statCertificate, s.CertificateExpiry, s.CertificateExpiry > 0)
	set(statRefused, s.Refused, true)
	set(statHistoryEvents, s.HistoryEvents, true)
	set(statHistoryBytes, s.HistoryBytes, true)
	set(statHistoryLimit, s.HistoryMaximum, s.HistoryMaximum > 0)
	set(statHistoryOldest, s.HistoryOldest, s.HistoryOldest > 0)
	b.add(famStatus, known, values)
	b.add(famInfo, 1, []uint64{1}, s.Version, s.Kernel)
	if e := s.Export; e != nil {
		b.add(famExport, 0b11_1111, []uint64{e.Sent, e.QueueBytes, e.LimitBytes, oneIf(e.Failing), e.SentPoints,
			oneIf(e.FailingPoints)})
		for _, reason := range slices.Sorted(maps.Keys(e.Lost)) {
			b.add(famLost, 1, []uint64{e.Lost[reason]}, "export", reason)
		}
		for _, reason := range slices.Sorted(maps.Keys(e.LostPoints)) {
			b.add(famExportLost, 1, []uint64{e.LostPoints[reason]}, reason)
		}
	}
	b.created = timestamp(s.ProgramsLoaded)
	for _, p := range s.Programs {
		known := uint64(0)
		if s.ProgramsTimed {
			known = 0b011
		}
		if p.Instructions > 0 {
			known |= 0b100
		}
		b.add(famProgram, known, []uint64{p.RunNanos, p.Runs, uint64(p.Instructions)}, p.Name, p.Probe)
	}
}
