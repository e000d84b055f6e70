package targets

import (
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/labels"
)

// labelAfterlife is how long the labels of a deleted pod are known, for its history. maxDeletedLabels limits the
// deleted pods whose labels are.
const (
	labelAfterlife   = 30 * time.Minute
	maxDeletedLabels = 10_000
)

// podLabels holds the labels of the targets, and of those that were deleted.
type podLabels struct {
	sets map[string]*labelSet // by UID
	// shared are the sets by their content: the pods of a workload have the same.
	shared  map[string]*labelSet
	deleted []deletedPod // oldest first
}

// labelSet is the labels of some pods.
type labelSet struct {
	content string
	labels  labels.Set
	pods    int
}

type deletedPod struct {
	uid  string
	when time.Time
}

func newPodLabels() podLabels {
	return podLabels{sets: map[string]*labelSet{}, shared: map[string]*labelSet{}}
}

// get returns the labels of a pod.
func (l *podLabels) get(uid string) (labels.Set, bool) {
	s, ok := l.sets[uid]
	if !ok {
		return nil, false
	}
	return s.labels, true
}

// set sets the labels of a pod.
func (l *podLabels) set(uid string, to labels.Set) {
	before := l.sets[uid]
	if before != nil && maps.Equal(before.labels, to) {
		return
	}
	content := to.String()
	s := l.shared[content]
	if s == nil {
		s = &labelSet{content: content, labels: to}
		l.shared[content] = s
	}
	s.pods++
	l.sets[uid] = s
	l.release(before)
}

// release drops a set that no pod has any more.
func (l *podLabels) release(s *labelSet) {
	if s == nil {
		return
	}
	if s.pods--; s.pods == 0 {
		delete(l.shared, s.content)
	}
}

// delete forgets the labels of a pod in a while.
func (l *podLabels) delete(uid string, now time.Time) {
	if _, ok := l.sets[uid]; !ok {
		return
	}
	l.deleted = append(l.deleted, deletedPod{uid, now})
	for len(l.deleted) > maxDeletedLabels || now.Sub(l.deleted[0].when) > labelAfterlife {
		oldest := l.deleted[0].uid
		l.release(l.sets[oldest])
		delete(l.sets, oldest)
		l.deleted = l.deleted[1:]
	}
}
