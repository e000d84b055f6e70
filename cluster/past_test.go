package cluster

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/orb8-dev/kubectl-orb8/cluster/targets"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/session"
)

// startedPod is a running pod with an address since a time.
func startedPod(name, address string, start time.Time) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: name, UID: types.UID("uid-" + name)},
		Spec:       corev1.PodSpec{NodeName: "node-1"},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &metav1.Time{Time: start},
			PodIPs: []corev1.PodIP{{IP: address}}},
	}
}

func TestNameAt_NamesPodsOfTheTime(t *testing.T) {
	start := time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)
	now := start
	n := newNames(func() time.Time { return now })
	c := &Cluster{names: n, targets: targets.New(func(*corev1.Pod) bool { return true }, "")}
	s := c.Select(func(*session.Pod) bool { return true }, nil)
	at := func(minutes int) time.Time { return start.Add(time.Duration(minutes) * time.Minute) }
	n.applyPod(startedPod("a", "10.0.0.1", at(0)))
	now = at(10)
	n.deletePod("uid-a")
	n.applyPod(startedPod("b", "10.0.0.1", at(20)))
	n.applyPod(startedPod("b", "10.0.0.1", at(20))) // an update
	now = at(30)
	// b has finished, and its address goes to c before b is deleted.
	n.applyPod(startedPod("c", "10.0.0.1", at(30)))
	now = at(40)
	n.deletePod("uid-b")
	name := func(minutes int) string {
		return s.NameAt(netip.MustParseAddr("10.0.0.1"), 80, event.Protocol_PROTOCOL_TCP, at(minutes)).Pod
	}
	for minutes, want := range map[int]string{-1: "", 0: "a", 9: "a", 15: "", 20: "b", 29: "b", 30: "c", 50: "c"} {
		if got := name(minutes); got != want {
			t.Errorf("after %d minutes: %q, want %q", minutes, got, want)
		}
	}
	if got := s.Name(netip.MustParseAddr("10.0.0.1"), 80, event.Protocol_PROTOCOL_TCP).Pod; got != "c" {
		t.Errorf("now %q", got)
	}
	n.deletePod("uid-c")
	now = at(50)
	n.applyPod(startedPod("d", "10.0.0.2", at(50)))
	if got := s.Name(netip.MustParseAddr("10.0.0.1"), 80, event.Protocol_PROTOCOL_TCP).Pod; got != "" ||
		name(35) != "c" {
		t.Errorf("%q now, %q before", got, name(35))
	}
}

func TestPastPods_AreBounded(t *testing.T) {
	l := newPastPods()
	l.max = 10
	begin := time.Unix(1000, 0)
	for i := range 100 {
		addr := netip.MustParseAddr(fmt.Sprintf("10.0.0.%d", i%3))
		since := begin.Add(time.Duration(i) * time.Hour)
		l.end(&podName{name: fmt.Sprint(i), addrs: []netip.Addr{addr}, since: since}, since.Add(time.Minute))
	}
	kept := 0
	for _, list := range l.byAddr {
		kept += len(list)
	}
	if len(l.order) != 10 || kept != 10 {
		t.Errorf("%d pods and %d addresses, want 10", len(l.order), kept)
	}
	newest := begin.Add(99 * time.Hour)
	if p := l.find(netip.MustParseAddr("10.0.0.0"), newest, nil); p == nil || p.name != "99" {
		t.Errorf("found %v", p)
	}
	if p := l.find(netip.MustParseAddr("10.0.0.0"), begin, nil); p != nil {
		t.Errorf("found %v, which was forgotten", p)
	}
}
