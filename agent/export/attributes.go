package export

import (
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// Attribute is an attribute of log records, made of a column.
type Attribute struct {
	// Name is that of OpenTelemetry's semantic conventions where they have one, else "orb8." and the column's name.
	Name string
	// Standard: the name is of the semantic conventions.
	Standard bool
	Column   *event.Column
}

// standard are the names of the semantic conventions by column, for all kinds.
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
	},
}

// Names of attributes that no column has.
const (
	attributeUID      = "k8s.pod.uid"
	attributeWorkload = "orb8.workload"
	attributeNetwork  = "network.type"
	prefix            = "orb8."
)

// list is the column whose text is a list with commas between.
const list = "answers"

// AttributesOf returns the attributes of a kind in the order of its columns.
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
			name = prefix + snake(c.Name)
		}
		all = append(all, Attribute{Name: name, Standard: ok, Column: c})
	}
	return all
}

// EventName is the name of the log records of a kind.
func EventName(kind string) string { return prefix + snake(kind) }

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
