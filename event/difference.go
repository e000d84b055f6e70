package event

import (
	"math"
	"strconv"
)

func isDifference(ev *Event) bool { _, ok := ev.GetKind().(*Event_Difference); return ok }

// The words of the enums by number; the first of each, unknown, is null.
var (
	changes          = []string{"", "appeared", "vanished", "changed"}
	certainties      = []string{"", "certain", "rare", "unsteady"}
	differenceTopics = []string{"", "workload", "peer", "client", "dns", "exec", "exit", "signal", "syscall", "error",
		"drop"}
	differenceMeasures = []string{"", "events", "connections", "sent", "received", "retransmits", "refused", "reset",
		"unanswered", "unreachable", "abandoned", "failed", "queries", "nxdomain", "timeouts", "latency", "runs",
		"exits", "signals", "calls", "errors", "packets", "response"}
	differenceUnits = []string{"", "perSecond", "bytesPerSecond", "micros"}
)

// Word is the change as JSON and tables show it; empty when unknown.
func (c DifferenceChange) Word() string { return word(changes, int32(c)) }

// Word is the certainty as JSON shows it; empty when unknown.
func (c Certainty) Word() string { return word(certainties, int32(c)) }

// Word is the topic as JSON shows it; empty when unknown.
func (t DifferenceTopic) Word() string { return word(differenceTopics, int32(t)) }

// Word is the measure as JSON and tables show it; empty when unknown.
func (m DifferenceMeasure) Word() string { return word(differenceMeasures, int32(m)) }

// Word is the unit as JSON shows it; empty when unknown.
func (u DifferenceUnit) Word() string { return word(differenceUnits, int32(u)) }

// differenceColumns are what a difference adds, in the order of the JSON object.
var differenceColumns = []Column{
	{
		Name: "who", Header: "WORKLOAD", Width: 20, Outputs: InTable | InWide,
		Doc: "The workload, or the pod that has none, and its container; with the namespace where that is not that " +
			"of the view.",
		Show: AppendOwner,
	},
	{
		Name: "workload", Header: "WORKLOAD", Type: Text, Outputs: InJSON,
		Doc: "Controller that owns the pods; null for a pod without one, which pod names.",
		Get: func(ev *Event) Value { return String(ev.GetDifference().GetWorkload()) },
	},
	{
		Name: "change", Header: "CHANGE", Type: Enum, Enum: changes[1:], Width: 8, Outputs: everywhere,
		Doc: "appeared: only the second recording has it; vanished: only the first one; changed: both, in different " +
			"amounts.",
		Get: func(ev *Event) Value { return String(ev.GetDifference().GetChange().Word()) },
		Show: func(dst []byte, ev *Event, _ *View) []byte {
			d := ev.GetDifference()
			if d.GetCertainty() == Certainty_CERTAINTY_UNSTEADY {
				return append(dst, d.GetCertainty().Word()...)
			}
			return append(dst, d.GetChange().Word()...)
		},
	},
	{
		Name: "name", Header: "WHAT", Type: Text, Width: 27, Outputs: everywhere,
		Doc: "The peer with its port, the DNS name, the path of the program, …; null for the workload as a whole. " +
			"Tables show the topic before it: -> for a peer, <- for a client.",
		Get:  func(ev *Event) Value { return String(ev.GetDifference().GetName()) },
		Show: showThing,
	},
	{
		Name: "certainty", Header: "CERTAINTY", Type: Enum, Enum: certainties[1:], Width: 9, Outputs: InWide | InJSON,
		Doc: "certain; rare: seen too few times, so that it may be chance that one recording lacks it; unsteady: " +
			"within the variation of the recordings, or that is not known.",
		Get: func(ev *Event) Value { return String(ev.GetDifference().GetCertainty().Word()) },
	},
	{
		Name: "topic", Header: "TOPIC", Type: Enum, Enum: differenceTopics[1:], Width: 8, Outputs: InJSON,
		Doc: "What it is about: the workload as a whole, a peer, a client, a DNS name, a program that is executed, " +
			"how a process fails, a signal, a system call, an error of one, dropped packets.",
		Get: func(ev *Event) Value { return String(ev.GetDifference().GetTopic().Word()) },
	},
	{
		Name: "protocol", Header: "PROTO", Type: Enum, Enum: protocols[1:], Outputs: InJSON,
		Doc: "Transport protocol of a peer or client; null otherwise.",
		Get: func(ev *Event) Value { return String(ev.GetDifference().GetProtocol().Word()) },
	},
	{
		Name: "measure", Header: "MEASURE", Type: Enum, Enum: differenceMeasures[1:], Width: 11, Outputs: everywhere,
		Doc: "What was measured: connections opened, payload sent and received, TCP segments retransmitted, " +
			"the mean response time, connections by how they failed, DNS queries, their failures and the mean time " +
			"until an answer, executions, exits, signals, system calls, packets; events: any of these.",
		Get: func(ev *Event) Value { return String(ev.GetDifference().GetMeasure().Word()) },
	},
	{
		Name: "unit", Header: "UNIT", Type: Enum, Enum: differenceUnits[1:], Outputs: InJSON,
		Doc: "Unit of before, after and deviation: per second, bytes per second, or µs.",
		Get: func(ev *Event) Value { return String(ev.GetDifference().GetUnit().Word()) },
	},
	differenceValue("before", "BEFORE", "Value in the first recording",
		func(d *Difference) *float64 { return d.Before }),
	differenceValue("after", "AFTER", "Value in the second recording",
		func(d *Difference) *float64 { return d.After }),
	{
		Name: "deviation", Header: "NOISE", Type: Rate, Width: 9, Outputs: everywhere,
		Doc: "Standard deviation between the parts of a recording, pooled over both; null where it is not known. " +
			"Tables show it in percent of the larger value, and of a thing that is rare, how many times it was seen.",
		Get: func(ev *Event) Value {
			if d := ev.GetDifference(); d != nil && d.Deviation != nil {
				return Float(*d.Deviation)
			}
			return Value{}
		},
		Show: showNoise,
	},
	total("beforeSeen", "SEEN-BEFORE", Count, 6, InWide|InJSON, "Events of it in the first recording.",
		func(ev *Event) uint64 { return ev.GetDifference().GetBeforeSeen() }),
	total("afterSeen", "SEEN-AFTER", Count, 6, InWide|InJSON, "Events of it in the second recording.",
		func(ev *Event) uint64 { return ev.GetDifference().GetAfterSeen() }),
	total("beforeMicros", "BEFORE-LENGTH", Micros, 6, InJSON, "Length of the first recording, µs.",
		func(ev *Event) uint64 { return ev.GetDifference().GetBeforeMicros() }),
	total("afterMicros", "AFTER-LENGTH", Micros, 6, InJSON, "Length of the second recording, µs.",
		func(ev *Event) uint64 { return ev.GetDifference().GetAfterMicros() }),
}

// differenceValue makes the column of a value in one of the recordings.
func differenceValue(name, header, doc string, get func(*Difference) *float64) Column {
	return Column{
		Name: name, Header: header, Type: Rate, Width: 7, Outputs: everywhere,
		Doc: doc + ", in the unit of unit; 0 where it has none; null where that is not known.",
		Get: func(ev *Event) Value {
			if d := ev.GetDifference(); d != nil && get(d) != nil {
				return Float(*get(d))
			}
			return Value{}
		},
		Show: func(dst []byte, ev *Event, _ *View) []byte {
			d := ev.GetDifference()
			if d == nil || get(d) == nil {
				return dst
			}
			return appendIn(dst, d.GetUnit(), *get(d))
		},
	}
}

// appendIn appends a value with its unit for people; nothing where it is no amount.
func appendIn(dst []byte, unit DifferenceUnit, f float64) []byte {
	switch {
	case math.IsNaN(f) || f < 0 || f >= 1<<63:
		return dst
	case unit == DifferenceUnit_DIFFERENCE_UNIT_MICROS:
		return AppendMicros(dst, uint64(f+0.5))
	case f == 0:
		return append(dst, '0')
	case unit == DifferenceUnit_DIFFERENCE_UNIT_BYTES_PER_SECOND:
		return append(AppendBytes(dst, uint64(f+0.5)), "/s"...)
	case f < 0.01:
		return append(dst, "<0.01/s"...)
	}
	return append(AppendRate(dst, f), "/s"...)
}

// AppendOwner appends the workload of a difference, or the pod without one, and its container, without the namespace of
// the view. The text is not yet safe for a terminal.
func AppendOwner(dst []byte, ev *Event, v *View) []byte {
	name := ev.GetDifference().GetWorkload()
	if name == "" && ev.GetPod() != "" {
		name = "pod/" + ev.GetPod()
	}
	if name == "" {
		return dst
	}
	dst = appendName(dst, ev.GetNamespace(), name, v)
	if ev.GetContainer() != "" {
		dst = append(append(append(dst, " ("...), ev.GetContainer()...), ')')
	}
	return dst
}

// thingMarks are what tables show before the name of a thing, by topic.
var thingMarks = []string{"", "", "->", "<-", "dns ", "exec ", "exit ", "signal ", "call ", "call ", "drop "}

func showThing(dst []byte, ev *Event, v *View) []byte {
	d := ev.GetDifference()
	if d.GetTopic() == DifferenceTopic_DIFFERENCE_TOPIC_WORKLOAD {
		return append(dst, d.GetTopic().Word()...)
	}
	dst = append(append(dst, word(thingMarks, int32(d.GetTopic()))...), inView(d.GetName(), v)...)
	if p := d.GetProtocol(); p != Protocol_PROTOCOL_UNKNOWN && p != Protocol_PROTOCOL_TCP {
		dst = append(append(dst, '/'), p.Word()...)
	}
	return dst
}

func showNoise(dst []byte, ev *Event, _ *View) []byte {
	d := ev.GetDifference()
	switch n := max(d.GetBeforeSeen(), d.GetAfterSeen()); {
	case d.GetChange() == DifferenceChange_DIFFERENCE_CHANGE_UNKNOWN:
		return dst
	case d.GetCertainty() == Certainty_CERTAINTY_RARE && n == 1:
		return append(dst, "seen once"...)
	case d.GetCertainty() == Certainty_CERTAINTY_RARE:
		return append(strconv.AppendUint(append(dst, "seen "...), n, 10), '×')
	case d.GetChange() != DifferenceChange_DIFFERENCE_CHANGE_CHANGED:
		return append(dst, '-')
	case d.Deviation == nil:
		return dst
	}
	larger := max(d.GetBefore(), d.GetAfter())
	if !(larger > 0) || !(*d.Deviation >= 0) || *d.Deviation > 1e6*larger {
		return dst
	}
	return append(strconv.AppendFloat(append(dst, "±"...), *d.Deviation/larger*100, 'f', 0, 64), '%')
}
