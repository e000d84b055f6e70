// Package otlp names the attributes that events have as OpenTelemetry log records, and makes events of such records
// again. Agents export records, and servers read them back from a store.
package otlp

import (
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// Attribute is an attribute of log records.
type Attribute struct {
	// Name is that of OpenTelemetry's semantic conventions where they have one, else "orb8." and the field's name.
	Name string
	// Standard: the name is of the semantic conventions.
	Standard bool
	// Field is the dotted JSON name of the field in the kind's message, "src.address".
	Field string
	// Column is the column of the field; nil: no output of the viewer has it.
	Column *event.Column
	// Get reads the field. Null: the record does not have the attribute.
	Get func(*event.Event) event.Value
}

// standard are the names of the semantic conventions by field, for all kinds.
var standard = map[string]string{
	"namespace":   "k8s.namespace.name",
	"pod":         "k8s.pod.name",
	"container":   "k8s.container.name",
	"protocol":    "network.transport",
	"src.address": "source.address",
	"src.port":    "source.port",
	"dst.address": "destination.address",
	"dst.port":    "destination.port",
	"proc.pid":    "process.pid",
	"gpu.uuid":    "hw.id",
	"gpu.name":    "hw.name",
}

// standardOf are those of one kind. pid is the observed process in these kinds.
var standardOf = map[string]map[string]string{
	"dns": {"name": "dns.question.name", "answers": "dns.answers"},
	"exec": {
		"pid": "process.pid", "containerPid": "process.vpid", "ppid": "process.parent_pid",
		"filename": "process.executable.path", "cwd": "process.working_directory", "exitCode": "process.exit.code",
	},
	"signal":  {"pid": "process.pid", "containerPid": "process.vpid"},
	"syscall": {"pid": "process.pid", "tid": "thread.id"},
}

// omitted are columns that are no attributes, by kind; "" is for all kinds. The agent sees one end of a flow, whose
// counters are those of the flow.
var omitted = map[string][]string{
	"": {"schemaVersion", "kind", "time", "node"},
	"flow": {
		"src.bytesSent", "src.bytesReceived", "src.packetsSent", "src.packetsReceived", "src.retransmits",
		"src.srttMicros", "dst.bytesSent", "dst.bytesReceived", "dst.packetsSent", "dst.packetsReceived",
		"dst.retransmits", "dst.srttMicros",
		"src.responses", "src.responseP50Micros", "src.responseP99Micros", "src.responseMaxMicros",
		"src.responseTotalMicros", "dst.responseTotalMicros",
	},
}

// Names of attributes that are not of one kind's message.
const (
	Namespace  = "k8s.namespace.name"
	Pod        = "k8s.pod.name"
	Container  = "k8s.container.name"
	PodUID     = "k8s.pod.uid"
	Workload   = "orb8.workload"
	Network    = "network.type"
	Node       = "k8s.node.name" // of the resource
	Service    = "service.name"  // of the resource
	Prefix     = "orb8."
	AgentValue = "orb8-agent" // of Service
	// Scope is the name of the instrumentation scope.
	Scope = "orb8"
)

// ExportStage is the value of orb8.stage for records that did not reach the collector. It is no event.LossStage.
const ExportStage = "export"

// IsList reports whether the text of an attribute's value is a list with commas between.
func (a *Attribute) IsList() bool { return a.Field == "answers" }

// AttributesOf returns the attributes of a kind: those of its columns in their order, then the others.
func AttributesOf(k *event.Kind) (all []Attribute) {
	skip := map[string]bool{}
	for _, name := range append(omitted[""], omitted[k.Name]...) {
		skip[name] = true
	}
	for i := range k.Columns {
		c := &k.Columns[i]
		if c.Outputs&event.InJSON == 0 || skip[c.Name] {
			continue
		}
		name, ok := standardOf[k.Name][c.Name]
		if !ok {
			name, ok = standard[c.Name]
		}
		if !ok {
			name = Prefix + snake(c.Name)
		}
		all = append(all, Attribute{Name: name, Standard: ok, Field: c.Name, Column: c, Get: c.Get})
	}
	for _, h := range hiddenOf(k) {
		all = append(all, Attribute{Name: Prefix + snake(h.field), Field: h.field, Get: h.get})
	}
	return all
}

// EventName is the name of the log records of a kind.
func EventName(kind string) string { return Prefix + snake(kind) }

// snake writes camel case with underscores, as OpenTelemetry names attributes: "src.bytesSent" is "src.bytes_sent".
func snake(name string) string {
	var b strings.Builder
	for _, r := range name {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}
