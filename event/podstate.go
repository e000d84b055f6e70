package event

func isPodState(ev *Event) bool { _, ok := ev.GetKind().(*Event_PodState); return ok }

func isServiceState(ev *Event) bool { _, ok := ev.GetKind().(*Event_ServiceState); return ok }

// podStateFlag is a column of yes or no.
func podStateFlag(name, header, doc string, get func(*PodState) bool) Column {
	return Column{Name: name, Header: header, Type: Bool, Required: true, Width: len(header), Outputs: everywhere,
		Doc: doc, Get: func(ev *Event) Value { return Flag(get(ev.GetPodState())) }}
}

var podStateText = textColumn[PodState]((*Event).GetPodState).text

// podStateColumns are what podState adds.
var podStateColumns = concat(
	podCells[:1],
	[]Column{
		podStateFlag("running", "RUNNING", "A container runs, or will be restarted.", (*PodState).GetRunning),
		podStateFlag("ready", "READY", "The pod is ready, or has ended well.", (*PodState).GetReady),
		podStateFlag("settled", "SETTLED", "It has had the time to become ready.", (*PodState).GetSettled),
		{
			Name: "restarts", Header: "RESTARTS", Type: Count, Required: true, Width: 8, Outputs: everywhere,
			Doc: "How often its containers have been restarted.",
			Get: func(ev *Event) Value { return Uint(ev.GetPodState().GetRestarts()) },
		},
		podStateFlag("restarting", "RESTARTING",
			"A container waits to be restarted after an error, or has been restarted in the last ten minutes.",
			(*PodState).GetRestarting),
		podStateFlag("oomKilled", "OOM-KILLED",
			"It was for want of memory that the last container ended, in the last ten minutes.",
			(*PodState).GetOomKilled),
		podStateText("lastEnd", "LAST-END", 12, everywhere,
			"How the last container that failed has ended: exit code 1; null where none has.", (*PodState).GetLastEnd),
		{
			Name: "probeFailures", Header: "PROBE-FAILURES", Type: Count, Width: 14, Outputs: everywhere,
			Doc: "Failed probes in the last ten minutes; null where events may not be read.",
			Get: func(ev *Event) Value {
				if s := ev.GetPodState(); s != nil && s.ProbeFailures != nil {
					return Uint(s.GetProbeFailures())
				}
				return Value{}
			},
		},
		podStateFlag("killedByProbe", "KILLED-BY-PROBE", "A container was ended for them.",
			(*PodState).GetKilledByProbe),
		podStateText("notStarted", "NOT-STARTED", 20, everywhere,
			"Why the pod, or a container of it, has not been started; null where all have been.",
			(*PodState).GetNotStarted),
		podStateText("message", "MESSAGE", 40, everywhere, "What Kubernetes says last of what is wrong.",
			(*PodState).GetMessage),
	},
)

// serviceStateColumns are what serviceState adds.
var serviceStateColumns = []Column{
	{
		Name: "name", Header: "SERVICE", Type: Text, Width: 20, Outputs: everywhere, Doc: "The Service's name.",
		Get: func(ev *Event) Value { return String(ev.GetServiceState().GetName()) },
	},
	{
		Name: "hasEndpoints", Header: "HAS-ENDPOINTS", Type: Bool, Required: true, Width: 13, Outputs: everywhere,
		Doc: "It had a ready endpoint.",
		Get: func(ev *Event) Value { return Flag(ev.GetServiceState().GetHasEndpoints()) },
	},
	{
		Name: "notReadyPod", Header: "NOT-READY-POD", Type: Text, Width: 20, Outputs: everywhere,
		Doc: "The first of its pods that is not ready, or the workload whose pods have no address (`deploy/web`); " +
			"null where neither is known.",
		Get: func(ev *Event) Value { return String(ev.GetServiceState().GetNotReadyPod()) },
	},
}
