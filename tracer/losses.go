package tracer

import (
	"cmp"
	"slices"
	"sync"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/tracer/pods"
)

// where is one place that drops.
type where struct {
	stage  event.LossStage
	source string
}

// parties are the cgroups that a loss is about; 0: unknown.
type parties struct{ lost, cause uint64 }

// entry is what the ledger counts apart.
type entry struct {
	where
	parties
}

// container names a container, or a pod where the container is empty.
type container struct{ namespace, pod, container string }

// delta is how much of a container's events was dropped somewhere since that was last reported, and whose events
// were the cause.
type delta struct {
	where
	lost, cause container
	count       uint64
}

// maxDeltas bounds how many losses are told apart at a time: what is more is of no known container.
const maxDeltas = 256

// ledger turns what the stages count since their start into what is new.
type ledger struct {
	// identify says whose a cgroup is or was.
	identify func(cgroup uint64) (*pods.Identity, pods.Status)

	mu       sync.Mutex
	total    map[entry]uint64
	reported map[entry]uint64
}

func newLedger(identify func(cgroup uint64) (*pods.Identity, pods.Status)) *ledger {
	return &ledger{identify: identify, total: make(map[entry]uint64), reported: make(map[entry]uint64)}
}

// add counts n more of no known cgroup.
func (l *ledger) add(w where, n uint64) { l.addOf(w, parties{}, n) }

// addOf counts n more.
func (l *ledger) addOf(w where, p parties, n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total[entry{w, p}] += n
}

// read takes in the cumulative counts of one source.
func (l *ledger) read(source string, lost []bpf.Loss) {
	l.mu.Lock()
	defer l.mu.Unlock()
	sums := make(map[entry]uint64, len(lost))
	for _, loss := range lost {
		sums[entry{where{loss.Stage, source}, parties{loss.Cgroup, loss.Cause}}] += loss.Count
	}
	for e, n := range sums {
		l.total[e] = max(l.total[e], n)
	}
}

// take returns what is new since the last take. What it returned is the caller's to deliver.
func (l *ledger) take() []delta {
	var news []delta
	for e, n := range l.news() {
		news = append(news, delta{e.where, l.name(e.lost), l.name(e.cause), n})
	}
	return merge(news)
}

func (l *ledger) news() map[entry]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	news := make(map[entry]uint64)
	for e, n := range l.total {
		if n > l.reported[e] {
			news[e] = n - l.reported[e]
			l.reported[e] = n
		}
	}
	return news
}

// name is who a cgroup is or was. Those of other nodes and of what nobody asked for stay without a name.
func (l *ledger) name(cgroup uint64) (c container) {
	if cgroup == pods.NodeLevel || l.identify == nil {
		return c
	}
	if id, _ := l.identify(cgroup); id != nil {
		c = container{id.Namespace, id.Pod, id.Container}
	}
	return c
}

// merge sums deltas of the same place and the same containers.
func merge(deltas []delta) []delta {
	sums := make(map[delta]uint64)
	for _, d := range deltas {
		n := d.count
		d.count = 0
		sums[d] += n
	}
	merged := make([]delta, 0, len(sums))
	for d, n := range sums {
		d.count = n
		merged = append(merged, d)
	}
	sortDeltas(merged)
	if len(merged) > maxDeltas {
		return merge(anonymous(merged))
	}
	return merged
}

// anonymous takes the names off the smallest of too many deltas.
func anonymous(deltas []delta) []delta {
	slices.SortStableFunc(deltas, func(a, b delta) int { return cmp.Compare(b.count, a.count) })
	named := maxDeltas / 2
	for i := named; i < len(deltas); i++ {
		deltas[i].lost, deltas[i].cause = container{}, container{}
	}
	return deltas
}

func sortDeltas(deltas []delta) {
	slices.SortFunc(deltas, func(a, b delta) int {
		return cmp.Or(cmp.Compare(a.stage, b.stage), cmp.Compare(a.source, b.source), a.lost.compare(b.lost),
			a.cause.compare(b.cause))
	})
}

func (c container) compare(d container) int {
	return cmp.Or(cmp.Compare(c.namespace, d.namespace), cmp.Compare(c.pod, d.pod),
		cmp.Compare(c.container, d.container))
}
