package event

// SchemaVersion is the version of the JSON contract that this build writes. It grows when a field changes its meaning
// or goes away; new fields do not change it.
const SchemaVersion = 2

// Kind is one kind of event: a member of the oneof in event.proto with its columns.
type Kind struct {
	// Name is the JSON name of the member, and the value of the kind column.
	Name string
	// Doc says in a sentence what such an event is.
	Doc string
	// Columns are all columns of the kind, those that every kind has first.
	Columns []Column
	// Row: such events are made by the viewer; no tracer sends them.
	Row bool
	// Recorded: recordings hold such rows, too.
	Recorded bool
	// Payload: such events hold what pods send. Only sessions of their own have them: agents record none, and servers
	// send none.
	Payload bool

	is     func(*Event) bool
	byName map[string]*Column
	plan   plan
}

// kinds lists every kind of event; a test holds it against the oneof.
var kinds = []*Kind{
	flowKind,
	newFlowSums(),
	newKind("tcp", "What became of a TCP connection, or of an attempt at one, as one end saw it.", isTCP, tcpColumns),
	newKind("dns", "A DNS query with its answer, or without one.", isDNS, dnsColumns),
	newKind("drop", "Packets that the kernel threw away.", isDrop, dropColumns),
	newRows("difference", "A thing that differs between two recordings: a row of diff.", isDifference,
		differenceColumns),
	newRows("dnsTop", "A row of top dns.", isDNSTop, dnsTopColumns),
	newKind("exec", "A program that a process began, or the end of a process.", isExec, execColumns),
	newKind("gpu", "What a GPU does, what a process does on it, or what has happened to it.", isGpu, gpuColumns),
	newRows("gpuTop", "A row of top gpu.", isGpuTop, gpuTopColumns),
	newRows("gpuVerdict", "What the time of a pod's GPUs goes to, and by which evidence: a row of why gpu.",
		isGpuVerdict, gpuVerdictColumns),
	newRecordedRows("podState", "What Kubernetes reported about a pod when why asked.", isPodState, podStateColumns),
	newRecordedRows("serviceState", "Whether a Service had an endpoint when why asked.", isServiceState,
		serviceStateColumns),
	newRows("podVerdict", "What is wrong with a pod, and by which evidence: a row of why.", isPodVerdict,
		podVerdictColumns),
	newKind("lost", "Events of a node that did not arrive.", isLost, lostColumns),
	newRows("networkTop", "A row of top network.", isNetworkTop, networkTopColumns),
	newKind("nodeStatus", "What a node's stream is doing.", isNodeStatus, nodeStatusColumns),
	newPackets(),
	newKind("resources", "What a container uses of its node, and what it waits for.", isResources, resourcesColumns),
	newKind("signal", "A signal that was sent to a process.", isSignal, signalColumns),
	newKind("syscall", "One system call.", isSyscall, syscallColumns),
	newKind("syscallSummary", "How often a container has made a system call, and how long that took.", isSyscallSummary,
		syscallSummaryColumns),
	newRows("syscallTop", "A row of top syscalls.", isSyscallTop, syscallTopColumns),
}

var flowKind = newKind("flow", "One conversation between two endpoints.", isFlow, flowColumns)

// Kinds returns every kind of event. Callers must not change the slice or its elements.
func Kinds() []*Kind { return kinds }

// KindOf returns the kind of ev, nil for an event without one.
func KindOf(ev *Event) *Kind {
	for _, k := range kinds {
		if k.is(ev) {
			return k
		}
	}
	return nil
}

// KindByName returns the kind with a name, nil if there is none.
func KindByName(name string) *Kind {
	for _, k := range kinds {
		if k.Name == name {
			return k
		}
	}
	return nil
}

// Column returns the JSON column with a dotted name, nil if there is none.
func (k *Kind) Column(name string) *Column { return k.byName[name] }

// Named returns the JSON columns with these names, in their order, without those that there are not.
func (k *Kind) Named(names []string) (all []*Column) {
	for _, name := range names {
		if c := k.byName[name]; c != nil {
			all = append(all, c)
		}
	}
	return all
}

func newKind(name, doc string, is func(*Event) bool, own []Column) *Kind {
	return kindOf(name, doc, is, commonColumns(name), own)
}

// newRows makes a kind of rows, which are all of one time: tables do not repeat it.
func newRows(name, doc string, is func(*Event) bool, own []Column) *Kind {
	common := commonColumns(name)
	for i := range common {
		if common[i].Name == "time" {
			common[i].Outputs = InJSON
		}
	}
	k := kindOf(name, doc, is, common, own)
	k.Row = true
	return k
}

// newRecordedRows makes a kind of rows that recordings hold.
func newRecordedRows(name, doc string, is func(*Event) bool, own []Column) *Kind {
	k := newRows(name, doc, is, own)
	k.Recorded = true
	return k
}

func kindOf(name, doc string, is func(*Event) bool, common, own []Column) *Kind {
	k := &Kind{Name: name, Doc: doc, is: is, byName: map[string]*Column{}}
	k.Columns = append(common, own...)
	for i := range k.Columns {
		if c := &k.Columns[i]; c.Outputs&InJSON != 0 {
			k.byName[c.Name] = c
		}
	}
	k.plan = newPlan(k.Columns)
	return k
}

// commonColumns are the columns of every kind, with the constant name of this one.
func commonColumns(kind string) []Column {
	name := String(kind)
	return []Column{
		{
			Name: "schemaVersion", Header: "SCHEMA", Type: Number, Required: true, Outputs: InJSON,
			Doc: "Version of this contract; grows when a field changes its meaning or goes away.",
			Get: func(*Event) Value { return Uint(SchemaVersion) },
		},
		{
			Name: "kind", Header: "KIND", Type: Enum, Enum: []string{kind}, Required: true, Outputs: InJSON,
			Doc: "Kind of event.",
			Get: func(*Event) Value { return name },
		},
		{
			Name: "time", Header: "TIME", Type: Timestamp, Width: 12, Outputs: InTable | InWide | InJSON,
			Doc: "When it was observed, by the clock of the node.",
			Get: func(ev *Event) Value { return Time(ev.GetTime()) },
		},
		{
			Name: "node", Header: "NODE", Type: Text, Width: 10, Outputs: InWide | InJSON,
			Doc: "Node it was observed on.",
			Get: func(ev *Event) Value { return String(ev.GetNode()) },
		},
		{
			Name: "namespace", Header: "NAMESPACE", Type: Text, Width: 10, Outputs: InJSON,
			Doc: "Namespace of the observed pod.",
			Get: func(ev *Event) Value { return String(ev.GetNamespace()) },
		},
		{
			Name: "pod", Header: "POD", Type: Text, Width: 20, Outputs: InJSON,
			Doc: "The observed pod. Of a flow seen from both ends, the pod of src.",
			Get: func(ev *Event) Value { return String(ev.GetPod()) },
		},
		{
			Name: "container", Header: "CONTAINER", Type: Text, Width: 10, Outputs: InJSON,
			Doc: "Container in the observed pod; null until the container runtime has named it.",
			Get: func(ev *Event) Value { return String(ev.GetContainer()) },
		},
	}
}
