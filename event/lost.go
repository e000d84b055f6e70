package event

func isLost(ev *Event) bool { _, ok := ev.GetKind().(*Event_Lost); return ok }

// lossStages are the words of LossStage by number; the first, unknown, is null.
var lossStages = []string{
	"", "kernel-buffer", "kernel-map", "naming", "queue", "stream-gap", "merge", "decode", "kernel-busy",
}

// Word is the stage as JSON and tables show it; empty when unknown.
func (s LossStage) Word() string { return word(lossStages, int32(s)) }

var lostColumns = []Column{
	{
		Name: "stage", Header: "STAGE", Type: Enum, Enum: lossStages[1:], Width: 13, Outputs: InTable | InWide | InJSON,
		Doc: "Where they were lost: the kernel's ring buffer, a full kernel map, a program that was interrupted by " +
			"what it observes (at most so many), the wait for a pod name (delivered without one), " +
			"the tracer's queue, a gap in a cut stream, the viewer's merge, or what could not be decoded.",
		Get: func(ev *Event) Value { return String(ev.GetLost().GetStage().Word()) },
	},
	{
		Name: "count", Header: "COUNT", Type: Count, Width: 6, Required: true, Outputs: InTable | InWide | InJSON,
		Doc: "Events lost there since the last event of this kind from the same stage, source and container, with " +
			"the same cause.",
		Get: func(ev *Event) Value { return Uint(ev.GetLost().GetCount()) },
	},
	{
		Name: "source", Header: "SOURCE", Type: Text, Width: 6, Outputs: InTable | InWide | InJSON,
		Doc: "Probe they were of; null for stages that serve all.",
		Get: func(ev *Event) Value { return String(ev.GetLost().GetSource()) },
	},
	{
		Name: "causedBy.namespace", Header: "CAUSED-BY-NAMESPACE", Type: Text, Width: 10, Outputs: InJSON,
		Doc: "Namespace of the pod that made most of the events meanwhile; null where that is unknown.",
		Get: func(ev *Event) Value { return String(ev.GetLost().GetCausedBy().GetNamespace()) },
	},
	{
		Name: "causedBy.pod", Header: "CAUSED-BY", Type: Text, Width: 20, Outputs: InWide | InJSON,
		Doc: "The pod that made most of the events meanwhile, so that there was no room; it may be the pod itself.",
		Get: func(ev *Event) Value { return String(ev.GetLost().GetCausedBy().GetPod()) },
	},
	{
		Name: "causedBy.container", Header: "CAUSED-BY-CONTAINER", Type: Text, Width: 10, Outputs: InJSON,
		Doc: "Container in that pod; null until the container runtime has named it.",
		Get: func(ev *Event) Value { return String(ev.GetLost().GetCausedBy().GetContainer()) },
	},
}
