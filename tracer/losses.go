package tracer

import (
	"cmp"
	"slices"
	"sync"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/tracer/pods"
)

// where is a place that drops events.
type where struct {
	stage  event.LossStage
	source string
}

// parties are the cgroups that lost events and that caused the loss; 0: unknown.
type parties struct{ lost, cause uint64 }

// entry is the key of one counter of the ledger.
type entry struct {
	where
	parties
}

// container names a container, or a pod where the container is empty.
type container struct{ namespace, pod, container string }

// delta is the number of a container's events that a place has dropped since the last report, with the container that
// caused it.
type delta struct {
	where
	lost, cause container
	count       uint64
}

// maxDeltas limits the losses in one report. Beyond it the smallest lose their containers and are summed up.
const maxDeltas = 256

// ledger turns the cumulative counters of the stages into deltas.
type ledger struct {
	// identify returns the container that a cgroup belongs or belonged to.
	identify func(cgroup uint64) (*pods.Identity, pods.Status)

	mu       sync.Mutex
	total    map[entry]uint64
	reported map[entry]uint64
}

func newLedger(identify func(cgroup uint64) (*pods.Identity, pods.Status)) *ledger {
	return &ledger{identify: identify, total: make(map[entry]uint64), reported: make(map[entry]uint64)}
}

// add counts n lost events of an unknown cgroup.
func (l *ledger) add(w where, n uint64) { l.addOf(w, parties{}, n) }

// addOf counts n lost events.
func (l *ledger) addOf(w where, p parties, n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total[entry{w, p}] += n
}

// read stores the cumulative counters of one source.
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

// take returns the losses since the last take. The caller must deliver them.
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

// name returns the container that a cgroup belongs or belonged to. It is empty for cgroups of other nodes and outside
// the targets.
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

// anonymous removes the names from the smallest of too many deltas.
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
