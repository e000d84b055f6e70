package advice

import (
	"slices"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/event"
)

func TestAdvice_LinesInOrder(t *testing.T) {
	all, top := New(), NewTop()
	percent := uint64(95)
	for _, ev := range []*event.Event{
		{Node: "n1", Kind: &event.Event_Gpu{Gpu: &event.Gpu{
			Type: event.GpuEventType_GPU_EVENT_TYPE_UNAVAILABLE, Message: "no driver",
		}}},
		{Namespace: "shop", Pod: "full", Kind: &event.Event_Resources{Resources: &event.Resources{
			Id: "1", Memory: &event.ResourcesMemory{Percent: &percent},
		}}},
		lookup("web", "api.example.com.shop.svc.cluster.local.", "NXDOMAIN"),
		lookup("web", "api.example.com.", "NOERROR"),
		attempt("web", event.TCPOutcome_TCP_OUTCOME_REFUSED, event.Side_SIDE_SRC),
		attempt("web", event.TCPOutcome_TCP_OUTCOME_TIMEOUT, event.Side_SIDE_SRC),
		attempt("web", event.TCPOutcome_TCP_OUTCOME_ABANDONED, event.Side_SIDE_SRC),
	} {
		all.Add(ev)
		top.Add(ev)
	}
	kinds := func(lines []string) (kinds []string) {
		for _, line := range lines {
			kind, _, _ := strings.Cut(line, ":")
			kinds = append(kinds, kind)
		}
		return kinds
	}
	if got, want := kinds(all.Lines()), []string{"search path", "memory", "failures", "gpu"}; !slices.Equal(got, want) {
		t.Errorf("lines %q, want %q", all.Lines(), want)
	}
	if got, want := kinds(top.Lines()), []string{"failures", "gpu"}; !slices.Equal(got, want) {
		t.Errorf("lines %q, want %q", top.Lines(), want)
	}
}
