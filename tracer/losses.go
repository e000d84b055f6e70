package tracer

import (
	"cmp"
	"slices"
	"sync"

	"github.com/orb8-dev/kubectl-orb8/bpf"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// where is one place that drops.
type where struct {
	stage  event.LossStage
	source string
}

// delta is how much was dropped somewhere since that was last reported.
type delta struct {
	where
	count uint64
}

// ledger turns what the stages count since their start into what is new.
type ledger struct {
	mu       sync.Mutex
	total    map[where]uint64
	reported map[where]uint64
}

func newLedger() *ledger {
	return &ledger{total: make(map[where]uint64), reported: make(map[where]uint64)}
}

// add counts n more.
func (l *ledger) add(w where, n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total[w] += n
}

// read takes in the cumulative counts of one source.
func (l *ledger) read(source string, lost []bpf.Loss) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, loss := range lost {
		w := where{loss.Stage, source}
		l.total[w] = max(l.total[w], loss.Count)
	}
}

// take returns what is new since the last take. What it returned is the caller's to deliver.
func (l *ledger) take() []delta {
	l.mu.Lock()
	defer l.mu.Unlock()
	var news []delta
	for w, n := range l.total {
		if n > l.reported[w] {
			news = append(news, delta{w, n - l.reported[w]})
			l.reported[w] = n
		}
	}
	sortDeltas(news)
	return news
}

// merge sums deltas of the same place.
func merge(deltas []delta) []delta {
	sums := make(map[where]uint64)
	for _, d := range deltas {
		sums[d.where] += d.count
	}
	merged := make([]delta, 0, len(sums))
	for w, n := range sums {
		merged = append(merged, delta{w, n})
	}
	sortDeltas(merged)
	return merged
}

func sortDeltas(deltas []delta) {
	slices.SortFunc(deltas, func(a, b delta) int {
		return cmp.Or(cmp.Compare(a.stage, b.stage), cmp.Compare(a.source, b.source))
	})
}
