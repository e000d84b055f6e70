package event

import (
	"strconv"
	"strings"
)

func isPodVerdict(ev *Event) bool { _, ok := ev.GetKind().(*Event_PodVerdict); return ok }

// podCauses are the words of PodCause by number, and what a share of the window is of.
var podCauses = []struct{ word, doc string }{
	{"unknown", "in which something was wrong without a known cause"},
	{"idle", "in which the pod had little to do"},
	{"busy", "in which the pod worked"},
	{"cpuLimit", "in which a CPU limit was used up"},
	{"crowdedNode", "in which tasks waited for a CPU of the node"},
	{"memoryLimit", "in which tasks waited for memory at the pod's limit"},
	{"oomKilled", "that goes to processes killed for want of memory"},
	{"memoryPressure", "in which tasks waited for memory below the limit"},
	{"diskWait", "in which tasks waited for block devices or file systems"},
	{"dnsTimeout", "that goes to lookups without an answer"},
	{"dnsSlow", "that goes to slow lookups"},
	{"dnsSearch", "that goes to lookups that the search path adds"},
	{"dnsNotFound", "that goes to names that do not exist"},
	{"refused", "that goes to connections that nothing listens for"},
	{"wrongPort", "that goes to connections to a port that the Service does not have"},
	{"noEndpoints", "that goes to connections to a Service without ready endpoints"},
	{"unanswered", "that goes to connections that nobody answers"},
	{"reset", "that goes to connections that peers reset"},
	{"backlogFull", "that goes to clients' connections that the pod accepts too slowly"},
	{"policyDrop", "that goes to packets dropped by a policy or firewall"},
	{"packetLoss", "that goes to segments lost on the way"},
	{"slowPeer", "that goes to waiting for the answers of a peer"},
	{"churn", "that goes to connections for which no local port is left"},
	{"crash", "that goes to containers that end and are restarted"},
	{"missingFile", "that goes to containers that end because a file does not exist"},
	{"permission", "that goes to containers that end because access is denied"},
	{"probeFailing", "that goes to failing probes of the kubelet"},
	{"lock", "in which threads waited for each other"},
	{"notStarted", "that goes to containers that have not been started"},
}

// PodCauseCount is how many causes there are.
const PodCauseCount = int(PodCause_POD_CAUSE_NOT_STARTED) + 1

func podCauseWords() (words []string) {
	for _, c := range podCauses {
		words = append(words, c.word)
	}
	return words
}

// Word is what JSON and tables show of it.
func (c PodCause) Word() string {
	if c < 0 || int(c) >= len(podCauses) {
		return podCauses[0].word
	}
	return podCauses[c].word
}

// Healthy reports whether nothing is wrong.
func (c PodCause) Healthy() bool { return c == PodCause_POD_CAUSE_IDLE || c == PodCause_POD_CAUSE_BUSY }

// Share is the share of one cause, in percent.
func (v *PodVerdict) Share(c PodCause) float64 {
	if c < 0 || int(c) >= len(v.GetShares()) {
		return 0
	}
	return float64(v.GetShares()[c]) / 1000
}

// judged reports whether anything was seen of the pod.
func (v *PodVerdict) judged() bool { return len(v.GetShares()) > 0 }

func podCauseColumns() (list []Column) {
	for i, c := range podCauses {
		cause := PodCause(i)
		list = append(list, Column{
			Name: "shares." + c.word, Header: "SHARE-" + strings.ToUpper(c.word), Type: Rate, Outputs: InJSON,
			Doc: "Percent of the window " + c.doc + ".",
			Get: func(ev *Event) Value {
				if v := ev.GetPodVerdict(); v.judged() {
					return Float(v.Share(cause))
				}
				return Value{}
			},
		})
	}
	return list
}

var podVerdictText = textColumn[PodVerdict]((*Event).GetPodVerdict).text

// podVerdictColumns are what podVerdict adds, in the order of the JSON object.
var podVerdictColumns = concat(
	podCells[:1],
	[]Column{
		podVerdictText("workload", "WORKLOAD", 12, InWide|InJSON, "Controller that owns the pod.",
			(*PodVerdict).GetWorkload),
		{
			Name: "windowMicros", Header: "WINDOW", Type: Micros, Outputs: InWide | InJSON,
			Doc: "How long before time the pod was watched, µs.",
			Get: func(ev *Event) Value { return NonZero(ev.GetPodVerdict().GetWindowMicros()) },
		},
		{
			Name: "verdict", Header: "VERDICT", Type: Enum, Enum: podCauseWords(), Width: 12, Outputs: everywhere,
			Doc: "The cause with the largest share; what is healthy only where nothing else has a share to speak of. " +
				"unknown: something is wrong, without a known cause. Null if nothing was seen of the pod.",
			Get: func(ev *Event) Value {
				if v := ev.GetPodVerdict(); v.judged() {
					return String(v.GetVerdict().Word())
				}
				return Value{}
			},
		},
		{
			Name: "healthy", Header: "HEALTHY", Type: Bool, Width: 7, Outputs: InWide | InJSON,
			Doc: "The verdict is idle or busy. Null if nothing was seen of the pod.",
			Get: func(ev *Event) Value {
				if v := ev.GetPodVerdict(); v.judged() {
					return Flag(v.GetVerdict().Healthy())
				}
				return Value{}
			},
		},
		{
			Name: "confidence", Header: "CONFIDENCE", Type: Enum, Enum: confidenceWords[1:], Width: 10,
			Outputs: everywhere, Doc: "How sure that is: high, medium or low.",
			Get: func(ev *Event) Value { return String(ev.GetPodVerdict().GetConfidence().Word()) },
		},
		{
			Name: "share", Header: "SHARE", Doc: "Share of the window that goes to the verdict's cause.", Width: 5,
			Outputs: InTable | InWide,
			Show: func(dst []byte, ev *Event, _ *View) []byte {
				if v := ev.GetPodVerdict(); v.judged() {
					return append(strconv.AppendFloat(dst, v.Share(v.GetVerdict()), 'f', 0, 64), '%')
				}
				return dst
			},
		},
		podVerdictText(
			"peer",
			"PEER",
			20,
			everywhere,
			"The other end that the verdict is about: a workload, a Service "+
				"with its port, a DNS server, an address.",
			(*PodVerdict).GetPeer,
		),
		podVerdictText("words", "WORDS", 40, everywhere, "The verdict for people.", (*PodVerdict).GetWords),
		podVerdictText("next", "NEXT", 40, InWide|InJSON, "A command that shows more.", (*PodVerdict).GetNext),
		{
			Name: "second", Header: "SECOND", Type: Enum, Enum: podCauseWords(), Width: 12, Outputs: InWide | InJSON,
			Doc: "The cause with the second largest share; null where there is none to speak of.",
			Get: func(ev *Event) Value {
				if v := ev.GetPodVerdict(); v != nil && v.Second != nil {
					return String(v.GetSecond().Word())
				}
				return Value{}
			},
		},
		{
			Name: "rootCause", Header: "ROOT", Type: Enum, Enum: podCauseWords(), Width: 12, Outputs: InWide | InJSON,
			Doc: "What is wrong at the end of chain; null where the peer was not followed, or nothing is wrong there.",
			Get: func(ev *Event) Value {
				if v := ev.GetPodVerdict(); v != nil && v.RootCause != nil {
					return String(v.GetRootCause().Word())
				}
				return Value{}
			},
		},
		podVerdictText("rootPod", "ROOT-POD", 20, InWide|InJSON, "The pod with rootCause, with its namespace.",
			(*PodVerdict).GetRootPod),
		podVerdictText(
			"chain",
			"CHAIN",
			20,
			InJSON,
			"The pods that wait for one another, from this one on to that with "+
				"rootCause, with commas between.",
			(*PodVerdict).GetChain,
		),
		{
			Name: "followed", Header: "FOLLOWED", Type: Bool, Width: 8, Outputs: InWide | InJSON,
			Doc: "The pod was not asked for: another one's verdict led to it.",
			Get: func(ev *Event) Value {
				if v := ev.GetPodVerdict(); v.judged() {
					return Flag(v.GetFollowed())
				}
				return Value{}
			},
		},
		podVerdictText("apart", "APART", 20, InJSON, "What would distinguish the first two causes.",
			(*PodVerdict).GetApart),
		podVerdictText("missing", "MISSING", 20, InWide|InJSON,
			"What could not be seen, with commas between; it makes the verdict less sure.", (*PodVerdict).GetMissing),
		total("lost", "LOST", Count, 4, InWide|InJSON, "Events of the pod's node that were lost in the window.",
			func(ev *Event) uint64 { return ev.GetPodVerdict().GetLost() }),
	},
	podCauseColumns(),
	podEvidenceColumns,
)
