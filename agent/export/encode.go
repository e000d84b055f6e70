package export

import (
	"math"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/agent/export/request"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/otlp"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/internal/exportconfig"
)

// The field numbers of opentelemetry/proto/{logs,common}/v1 that are written, besides those of package request. A test
// decodes requests with OpenTelemetry's own code.
const (
	recordTime         protowire.Number = 1
	recordSeverity     protowire.Number = 2
	recordBody         protowire.Number = 5
	recordAttributes   protowire.Number = 6
	recordObservedTime protowire.Number = 11
	recordEventName    protowire.Number = 12
	keyValueValue      protowire.Number = 2
	anyString          protowire.Number = 1
	anyBool            protowire.Number = 2
	anyInt             protowire.Number = 3
	anyFloat           protowire.Number = 4
	anyArray           protowire.Number = 5
	arrayValues        protowire.Number = 1
)

// Severity numbers of log records.
const (
	severityInfo  = 9
	severityWarn  = 13
	severityError = 17
)

// plan is how the events of a kind are written.
type plan struct {
	name     string // of the records
	severity uint64
	columns  []planned
	// cells are the columns that make the body.
	cells []*event.Column
}

type planned struct {
	key  []byte // encoded KeyValue.key
	get  func(*event.Event) event.Value
	list bool
}

// plans returns the plans of all kinds by the field number of the kind.
var plans = sync.OnceValue(func() map[protowire.Number]*plan {
	all := map[protowire.Number]*plan{}
	fields := (*event.Event)(nil).ProtoReflect().Descriptor().Oneofs().ByName("kind").Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if k := event.KindByName(f.JSONName()); k != nil && !k.Row {
			all[f.Number()] = newPlan(k)
		}
	}
	return all
})

func newPlan(k *event.Kind) *plan {
	p := &plan{name: otlp.EventName(k.Name), severity: severityInfo}
	if k.Name == "lost" {
		p.severity = severityWarn
	}
	for _, a := range otlp.AttributesOf(k) {
		key := request.AppendString(nil, request.KeyValueKey, a.Name)
		p.columns = append(p.columns, planned{key, a.Get, a.IsList()})
	}
	for i := range k.Columns {
		if c := &k.Columns[i]; c.Outputs&event.InTable != 0 && c.Name != "time" {
			p.cells = append(p.cells, c)
		}
	}
	return p
}

// encoder makes requests of events. It is for one goroutine. A request is valid until the next call of reset.
type encoder struct {
	envelope *request.Envelope
	// buf has room for the head of the request, then the records.
	buf []byte

	record, text, body []byte
}

// newEncoder makes the encoder of an agent. extra are further attributes of the resource.
func newEncoder(node, version string, extra map[string]string) *encoder {
	e := &encoder{envelope: request.NewEnvelope(ownResource(node, version), extra, otlp.Scope, version)}
	e.reset()
	return e
}

// ownResource are attributes of the resource of all signals.
func ownResource(node, version string) []request.Attribute {
	return []request.Attribute{{Name: otlp.Service, Value: otlp.AgentValue}, {Name: exportconfig.ServiceVersion,
		Value: version}, {Name: otlp.Node, Value: node}}
}

// reset begins a request.
func (e *encoder) reset() {
	room := e.envelope.Room()
	e.buf = slices.Grow(e.buf[:0], room)[:room]
}

// size is the size of the request so far, bytes.
func (e *encoder) size() int { return len(e.buf) }

// truncate removes the newest record, before which the request had a size.
func (e *encoder) truncate(size int) { e.buf = e.buf[:size] }

// detach leaves the request to whoever may still read it.
func (e *encoder) detach() { e.buf = nil }

// add adds the record of an encoded event. It is false for bytes that are no event, or of an unknown kind.
func (e *encoder) add(encoded []byte, now uint64) bool {
	number, _ := kindField(encoded)
	p := plans()[number]
	if p == nil {
		return false
	}
	var ev event.Event
	if proto.Unmarshal(encoded, &ev) != nil {
		return false
	}
	if f := ev.GetFlow(); f != nil && f.GetId() == "" {
		f.Id = event.FlowID(f)
	}
	e.begin(p, &ev, now)
	e.addColumns(p, &ev)
	e.end()
	return true
}

// addLoss adds a record that says how many records were lost on the way to the collector.
func (e *encoder) addLoss(node string, count, now uint64) {
	ev := &event.Event{Time: now, Node: node, Kind: &event.Event_Lost{Lost: &event.Lost{Count: count}}}
	p := newPlan(event.KindByName("lost"))
	e.begin(p, ev, now)
	e.addColumns(p, ev)
	e.addString(request.AppendString(nil, request.KeyValueKey, "orb8.stage"), LossStage)
	e.end()
}

// LossStage is where records are lost that did not reach the collector, beside those of event.LossStage.
const LossStage = otlp.ExportStage

func (e *encoder) begin(p *plan, ev *event.Event, now uint64) {
	severity := p.severity
	if s := ev.GetNodeStatus(); s != nil {
		switch s.GetState() {
		case event.NodeState_NODE_STATE_FAILED:
			severity = severityError
		case event.NodeState_NODE_STATE_RECONNECTING:
			severity = severityWarn
		}
	}
	r := e.record[:0]
	r = protowire.AppendFixed64(protowire.AppendTag(r, recordTime, protowire.Fixed64Type), ev.GetTime())
	r = protowire.AppendFixed64(protowire.AppendTag(r, recordObservedTime, protowire.Fixed64Type), now)
	r = protowire.AppendVarint(protowire.AppendTag(r, recordSeverity, protowire.VarintType), severity)
	r = request.AppendString(r, recordEventName, p.name)
	e.composeBody(p, ev)
	r = protowire.AppendTag(r, recordBody, protowire.BytesType)
	r = protowire.AppendVarint(r, uint64(1+protowire.SizeBytes(len(e.body))))
	e.record = request.AppendBytes(r, anyString, e.body)
}

// end moves the record into the request.
func (e *encoder) end() {
	e.buf = e.envelope.AppendRecord(e.buf, e.record)
}

// composeBody writes what a table shows of an event, for people who read records as lines of text.
func (e *encoder) composeBody(p *plan, ev *event.Event) {
	b := append(e.body[:0], p.name[len(otlp.Prefix):]...)
	for _, c := range p.cells {
		text := e.text[:0]
		if c.Show != nil {
			text = c.Show(text, ev, &everywhere)
		} else if !c.Get(ev).IsNull() {
			text = c.AppendCell(text, ev, &everywhere)
		}
		if e.text = text; len(text) > 0 {
			b = safe.AppendBytes(append(b, ' '), text)
		}
	}
	e.body = b
}

var everywhere event.View

func (e *encoder) addColumns(p *plan, ev *event.Event) {
	for i := range p.columns {
		c := &p.columns[i]
		if v := c.get(ev); !v.IsNull() {
			e.addValue(c, v)
		}
	}
	if uid := ev.GetPodUid(); uid != "" {
		e.addString(keyUID, uid)
	}
	if workload := ev.GetWorkload(); workload != "" {
		e.addString(keyWorkload, workload)
	}
	ends := event.EndsOf(ev)
	address := ends.GetSrc().GetAddress()
	if len(address) == 0 {
		address = ends.GetDst().GetAddress()
	}
	switch len(address) {
	case 4:
		e.addString(keyNetwork, "ipv4")
	case 16:
		e.addString(keyNetwork, "ipv6")
	}
}

// Encoded keys of the attributes that no column has.
var (
	keyUID      = request.AppendString(nil, request.KeyValueKey, otlp.PodUID)
	keyWorkload = request.AppendString(nil, request.KeyValueKey, otlp.Workload)
	keyNetwork  = request.AppendString(nil, request.KeyValueKey, otlp.Network)
)

func (e *encoder) addValue(c *planned, v event.Value) {
	switch v.Kind() {
	case event.StringValue:
		if c.list {
			e.addList(c.key, v.Str())
			return
		}
		e.addString(c.key, v.Str())
	case event.UintValue:
		e.addVarint(c.key, anyInt, min(v.Uint(), math.MaxInt64))
	case event.IntValue:
		e.addVarint(c.key, anyInt, uint64(v.Int()))
	case event.BoolValue:
		e.addVarint(c.key, anyBool, protowire.EncodeBool(v.Bool()))
	case event.FloatValue:
		e.beginAttribute(c.key, 9)
		e.record = protowire.AppendTag(e.record, anyFloat, protowire.Fixed64Type)
		e.record = protowire.AppendFixed64(e.record, math.Float64bits(v.Float()))
	default: // times and addresses as in JSON
		e.text = v.Append(e.text[:0])
		e.beginAttribute(c.key, 1+protowire.SizeBytes(len(e.text)))
		e.record = request.AppendBytes(e.record, anyString, e.text)
	}
}

// beginAttribute writes an attribute up to its AnyValue, which has size bytes.
func (e *encoder) beginAttribute(key []byte, size int) {
	r := protowire.AppendTag(e.record, recordAttributes, protowire.BytesType)
	r = protowire.AppendVarint(r, uint64(len(key)+1+protowire.SizeBytes(size)))
	r = append(r, key...)
	r = protowire.AppendTag(r, keyValueValue, protowire.BytesType)
	e.record = protowire.AppendVarint(r, uint64(size))
}

func (e *encoder) addString(key []byte, s string) {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\ufffd")
	}
	e.beginAttribute(key, 1+protowire.SizeBytes(len(s)))
	e.record = request.AppendString(e.record, anyString, s)
}

func (e *encoder) addVarint(key []byte, field protowire.Number, n uint64) {
	e.beginAttribute(key, 1+protowire.SizeVarint(n))
	e.record = protowire.AppendVarint(protowire.AppendTag(e.record, field, protowire.VarintType), n)
}

// addList adds an array of the parts of a text.
func (e *encoder) addList(key []byte, s string) {
	var array []byte
	for part := range strings.SplitSeq(s, ",") {
		array = request.AppendBytes(array, arrayValues, request.AppendString(nil, anyString, part))
	}
	e.beginAttribute(key, 1+protowire.SizeBytes(len(array)))
	e.record = request.AppendBytes(e.record, anyArray, array)
}

// request is the ExportLogsServiceRequest of the records so far.
func (e *encoder) request() []byte { return e.envelope.Seal(e.buf) }

// kindField returns the field of an event that is its kind; 0 without one.
func kindField(encoded []byte) (number protowire.Number, message []byte) {
	for b := encoded; len(b) > 0; {
		field, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return 0, nil
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(field, typ, b); n < 0 {
			return 0, nil
		}
		if field >= firstKind && typ == protowire.BytesType {
			message, _ = protowire.ConsumeBytes(b[:n])
			return field, message
		}
		b = b[n:]
	}
	return 0, nil
}

// firstKind is the least field number of a kind. A test compares it with event.proto.
const firstKind protowire.Number = 16
