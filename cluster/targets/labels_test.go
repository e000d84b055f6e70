package targets

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/labels"
)

func TestPodLabels_AreSharedAndDropped(t *testing.T) {
	l := newPodLabels()
	for i := range 1000 {
		l.set(fmt.Sprint("uid-", i), labels.Set{"app": "web", "hash": "5d4f"})
	}
	l.set("other", labels.Set{"app": "db"})
	if len(l.shared) != 2 {
		t.Errorf("%d sets of two contents", len(l.shared))
	}
	l.set("other", labels.Set{"app": "web", "hash": "5d4f"})
	l.set("uid-1", labels.Set{"app": "canary"})
	for uid, app := range map[string]string{"other": "web", "uid-0": "web", "uid-1": "canary"} {
		if got, ok := l.get(uid); !ok || got["app"] != app {
			t.Errorf("labels of %s: %v", uid, got)
		}
	}
	if _, ok := l.get("uid-1000"); ok || len(l.shared) != 2 {
		t.Errorf("%d sets; an unknown pod has labels: %v", len(l.shared), ok)
	}
	start := time.Now()
	for i := range 1000 {
		l.delete(fmt.Sprint("uid-", i), start)
	}
	if got, ok := l.get("uid-0"); !ok || got["app"] != "web" {
		t.Errorf("labels of a deleted pod: %v", got)
	}
	l.delete("other", start.Add(labelAfterlife+time.Second))
	if _, ok := l.get("uid-0"); ok || len(l.sets) != 1 || len(l.shared) != 1 {
		t.Errorf("%d pods with %d sets are kept", len(l.sets), len(l.shared))
	}
}
