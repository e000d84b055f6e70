package targets

import (
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
	sets    map[string]labels.Set // by UID
	deleted []deletedPod          // oldest first
}

type deletedPod struct {
	uid  string
	when time.Time
}

// delete forgets the labels of a pod in a while.
func (l *podLabels) delete(uid string, now time.Time) {
	if _, ok := l.sets[uid]; !ok {
		return
	}
	l.deleted = append(l.deleted, deletedPod{uid, now})
	for len(l.deleted) > maxDeletedLabels || now.Sub(l.deleted[0].when) > labelAfterlife {
		delete(l.sets, l.deleted[0].uid)
		l.deleted = l.deleted[1:]
	}
}
