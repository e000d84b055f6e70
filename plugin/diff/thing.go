package diff

import (
	"net/netip"

	"github.com/orb8-dev/kubectl-orb8/event"
)

type (
	topic   = event.DifferenceTopic
	measure = event.DifferenceMeasure
)

// The topics and measures, by the words of the rows.
const (
	topicWorkload = event.DifferenceTopic_DIFFERENCE_TOPIC_WORKLOAD
	topicPeer     = event.DifferenceTopic_DIFFERENCE_TOPIC_PEER
	topicClient   = event.DifferenceTopic_DIFFERENCE_TOPIC_CLIENT
	topicDNS      = event.DifferenceTopic_DIFFERENCE_TOPIC_DNS
	topicExec     = event.DifferenceTopic_DIFFERENCE_TOPIC_EXEC
	topicExit     = event.DifferenceTopic_DIFFERENCE_TOPIC_EXIT
	topicSignal   = event.DifferenceTopic_DIFFERENCE_TOPIC_SIGNAL
	topicSyscall  = event.DifferenceTopic_DIFFERENCE_TOPIC_SYSCALL
	topicError    = event.DifferenceTopic_DIFFERENCE_TOPIC_ERROR
	topicDrop     = event.DifferenceTopic_DIFFERENCE_TOPIC_DROP
	topics        = topicDrop + 1

	events      = event.DifferenceMeasure_DIFFERENCE_MEASURE_EVENTS
	connections = event.DifferenceMeasure_DIFFERENCE_MEASURE_CONNECTIONS
	sent        = event.DifferenceMeasure_DIFFERENCE_MEASURE_SENT
	received    = event.DifferenceMeasure_DIFFERENCE_MEASURE_RECEIVED
	retransmits = event.DifferenceMeasure_DIFFERENCE_MEASURE_RETRANSMITS
	refused     = event.DifferenceMeasure_DIFFERENCE_MEASURE_REFUSED
	reset       = event.DifferenceMeasure_DIFFERENCE_MEASURE_RESET
	unanswered  = event.DifferenceMeasure_DIFFERENCE_MEASURE_UNANSWERED
	unreachable = event.DifferenceMeasure_DIFFERENCE_MEASURE_UNREACHABLE
	abandoned   = event.DifferenceMeasure_DIFFERENCE_MEASURE_ABANDONED
	failed      = event.DifferenceMeasure_DIFFERENCE_MEASURE_FAILED
	queries     = event.DifferenceMeasure_DIFFERENCE_MEASURE_QUERIES
	nxdomain    = event.DifferenceMeasure_DIFFERENCE_MEASURE_NXDOMAIN
	timeouts    = event.DifferenceMeasure_DIFFERENCE_MEASURE_TIMEOUTS
	latency     = event.DifferenceMeasure_DIFFERENCE_MEASURE_LATENCY
	runs        = event.DifferenceMeasure_DIFFERENCE_MEASURE_RUNS
	exits       = event.DifferenceMeasure_DIFFERENCE_MEASURE_EXITS
	signals     = event.DifferenceMeasure_DIFFERENCE_MEASURE_SIGNALS
	calls       = event.DifferenceMeasure_DIFFERENCE_MEASURE_CALLS
	callErrors  = event.DifferenceMeasure_DIFFERENCE_MEASURE_ERRORS
	packets     = event.DifferenceMeasure_DIFFERENCE_MEASURE_PACKETS
	response    = event.DifferenceMeasure_DIFFERENCE_MEASURE_RESPONSE
	// answered and responded count what latency and response are sums of. They are no measures of a row.
	answered  = response + 1
	responded = response + 2
	measures  = response + 3
)

// ownMeasures are the measures of a topic's things: the first that is not 0 is that of a thing that has appeared or
// vanished.
var ownMeasures = [topics][]measure{
	topicPeer:    {connections, sent, received},
	topicClient:  {connections, sent, received},
	topicDNS:     {queries},
	topicExec:    {runs},
	topicExit:    {exits},
	topicSignal:  {signals},
	topicSyscall: {calls},
	topicError:   {callErrors},
	topicDrop:    {packets},
}

// failures are the measures of what went wrong. A thing that has appeared or vanished has a row for each of them.
var failures = []measure{retransmits, refused, reset, unanswered, unreachable, abandoned, failed, nxdomain, timeouts,
	callErrors}

// ownerKey identifies a workload, or the pod that has none ("pod/web-0"), and a container of it. The container is empty
// where it is not known.
type ownerKey struct{ namespace, workload, container string }

// thingKey identifies a thing of a workload.
type thingKey struct {
	topic    topic
	name     string
	protocol event.Protocol
}

// owner is a container of a workload, of all its pods.
type owner struct {
	key    ownerKey
	things map[thingKey]*thing
	count  [topics]int
	// full are the topics of which things were left out.
	full [topics]bool
	// addresses are the DNS names of resolved addresses.
	addresses map[netip.Addr]string
}

// thing is something that a workload does, with its amounts.
type thing struct {
	owner *owner
	key   thingKey
	// seen counts events. Its total is exact below 2^53.
	seen   series
	amount [measures]*series
}

// series returns the series of a measure, which it makes where there is none.
func (t *thing) series(m measure) *series {
	if t.amount[m] == nil {
		t.amount[m] = &series{}
	}
	return t.amount[m]
}

// total returns the sum of a measure over the recording.
func (t *thing) total(m measure) float64 {
	if t == nil || t.amount[m] == nil {
		return 0
	}
	return t.amount[m].total
}

// merge adds what another thing of the same recording has counted.
func (t *thing) merge(other *thing) {
	t.seen.merge(&other.seen)
	for m, s := range other.amount {
		if s != nil {
			t.series(measure(m)).merge(s)
		}
	}
}

func (t *thing) fold() {
	t.seen.fold()
	for _, s := range t.amount {
		if s != nil {
			s.fold()
		}
	}
}
