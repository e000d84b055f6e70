package otlpmetric

import (
	"bytes"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/orb8-dev/kubectl-orb8/agent/export/request"
)

// Field numbers of opentelemetry/proto/metrics/v1: Metric, and its data.
const (
	metricName           protowire.Number = 1
	metricDescription    protowire.Number = 2
	metricUnit           protowire.Number = 3
	metricGauge          protowire.Number = 5
	metricSum            protowire.Number = 7
	metricHistogram      protowire.Number = 9
	metricExponential    protowire.Number = 10
	metricSummary        protowire.Number = 11
	dataPoints           protowire.Number = 1
	dataTemporality      protowire.Number = 2
	dataMonotonic        protowire.Number = 3
	cumulative                            = 2 // AGGREGATION_TEMPORALITY_CUMULATIVE
	maxNameBytes, maxDoc                  = 512, 1 << 10
)

// Limits bound what Encode makes.
type Limits struct {
	// Request is the size of a request, Total that of all, bytes.
	Request, Total int
}

// Request is an encoded ExportMetricsServiceRequest.
type Request struct {
	Body   []byte
	Points int
}

// Result is what became of the metrics: each of their points is in a request, or counted here.
type Result struct {
	Requests []Request
	// Points are all, Overflow those beyond Limits.Total, and Unreadable those that OTLP has no form for, or that alone
	// are larger than a request.
	Points, Overflow, Unreadable int
}

// encoder makes requests of metrics.
type encoder struct {
	envelope *request.Envelope
	limits   Limits
	// now is the time of the points, and start that of counters that do not say when they began, ns.
	now, start uint64
	result     Result
	bytes      int // of result.Requests

	// buf is the request that is being made: room for its head, then metrics. points is their number.
	buf    []byte
	points int
	// head is the encoded beginning of the present metric, data its points, all of one type, dataPoints their number.
	head, data []byte
	field      protowire.Number
	inData     int

	point, scratch []byte
}

// Encode makes requests of metrics that were gathered at a time. start is the time of counters that do not say when
// they began.
func Encode(
	envelope *request.Envelope, families []*dto.MetricFamily, now, start time.Time, limits Limits,
) Result {
	e := &encoder{envelope: envelope, limits: limits, now: uint64(now.UnixNano()), start: uint64(start.UnixNano())}
	e.reset()
	for _, f := range families {
		e.addFamily(f)
	}
	e.closeMetric()
	e.closeRequest()
	return e.result
}

func (e *encoder) reset() {
	room := e.envelope.Room()
	e.buf = slices.Grow(e.buf[:0], room)[:room]
	e.points = 0
}

func (e *encoder) addFamily(f *dto.MetricFamily) {
	e.head = request.AppendString(e.head[:0], metricName, text(f.GetName(), maxNameBytes))
	if help := f.GetHelp(); help != "" {
		e.head = request.AppendString(e.head, metricDescription, text(help, maxDoc))
	}
	if unit := unitOf(f); unit != "" {
		e.head = request.AppendString(e.head, metricUnit, text(unit, maxNameBytes))
	}
	for _, m := range f.GetMetric() {
		e.result.Points++
		field, ok := e.encodePoint(f.GetType(), m)
		if !ok {
			e.result.Unreadable++
			continue
		}
		e.addPoint(field)
	}
	e.closeMetric()
}

// addPoint adds the present point to the metric, which it begins anew where the type or the request is another one.
func (e *encoder) addPoint(field protowire.Number) {
	if e.inData > 0 && e.field != field {
		e.closeMetric()
	}
	if e.sizeWith(len(e.point)) > e.limits.Request {
		e.closeMetric()
		e.closeRequest()
		if e.sizeWith(len(e.point)) > e.limits.Request {
			e.result.Unreadable++
			return
		}
	}
	e.field = field
	e.data = request.AppendBytes(e.data, dataPoints, e.point)
	e.inData++
}

// sizeWith is an upper bound of the request's size with another point.
func (e *encoder) sizeWith(point int) int {
	const tags = 32 // tags and lengths of the point, its data and its metric, and the data's other fields
	return len(e.buf) + len(e.head) + len(e.data) + point + tags
}

// closeMetric moves the present metric into the request.
func (e *encoder) closeMetric() {
	if e.inData == 0 {
		return
	}
	switch e.field {
	case metricSum:
		e.data = appendVarint(e.data, dataTemporality, cumulative)
		e.data = appendVarint(e.data, dataMonotonic, 1)
	case metricHistogram, metricExponential:
		e.data = appendVarint(e.data, dataTemporality, cumulative)
	}
	e.scratch = append(e.scratch[:0], e.head...)
	e.scratch = request.AppendBytes(e.scratch, e.field, e.data)
	e.buf = e.envelope.AppendRecord(e.buf, e.scratch)
	e.points += e.inData
	e.data, e.inData = e.data[:0], 0
}

// closeRequest ends the present request, unless all requests together are too large then.
func (e *encoder) closeRequest() {
	if e.points == 0 {
		return
	}
	body := e.envelope.Seal(e.buf)
	if e.bytes+len(body) > e.limits.Total {
		e.result.Overflow += e.points
	} else {
		e.bytes += len(body)
		e.result.Requests = append(e.result.Requests, Request{bytes.Clone(body), e.points})
	}
	e.reset()
}

// text is a name or a description, made valid and not too long.
func text(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

func appendVarint(dst []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(dst, field, protowire.VarintType), v)
}

// units are the units of Prometheus' conventions, as UCUM writes them.
var units = map[string]string{
	"seconds": "s", "bytes": "By", "ratio": "1", "percent": "%", "celsius": "Cel", "hertz": "Hz", "volts": "V",
	"amperes": "A", "joules": "J", "watts": "W", "meters": "m", "grams": "g",
}

// unitOf is the unit of a family: that of its metadata, else of its name; empty: it has none.
func unitOf(f *dto.MetricFamily) string {
	if unit := f.GetUnit(); unit != "" {
		if ucum := units[unit]; ucum != "" {
			return ucum
		}
		return unit
	}
	name := strings.TrimSuffix(f.GetName(), "_total")
	return units[name[strings.LastIndexByte(name, '_')+1:]]
}
