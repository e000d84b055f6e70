package eventtest

import (
	"math/rand/v2"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/check"
)

// TestEvents_ReachTheViews shows that a fuzz test with these events reaches the views: the checker accepts most events
// of each kind that tracers send, and refuses some of each kind.
func TestEvents_ReachTheViews(t *testing.T) {
	started := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	r := rand.New(rand.NewPCG(1, 2))
	accepted, refused := map[string]int{}, map[string]int{}
	for range 300 {
		in := make([]byte, 1000)
		for i := range in {
			in[i] = byte(r.Uint32())
		}
		c := check.Recording(nil, started)
		for _, ev := range Events(in, started) {
			b, err := proto.Marshal(ev)
			if err != nil {
				t.Fatalf("%v: %v", err, ev)
			}
			decoded := &event.Event{}
			if err := proto.Unmarshal(b, decoded); err != nil {
				t.Fatal(err)
			}
			kind, counts := event.KindOf(decoded), accepted
			if c.Check(decoded) != nil {
				counts = refused
			} else if kind == nil {
				t.Fatal("an event of no kind is accepted")
			}
			if kind != nil {
				counts[kind.Name]++
			}
		}
	}
	for _, k := range event.Kinds() {
		a, n := accepted[k.Name], accepted[k.Name]+refused[k.Name]
		if n < 100 || refused[k.Name] == 0 || k.Row != (a == 0) || !k.Row && a < n/4 {
			t.Errorf("%s: %d of %d accepted", k.Name, a, n)
		}
	}
	t.Logf("accepted %v, refused %v", accepted, refused)
}
