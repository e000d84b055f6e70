package server

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

// newShare is a request without agents, with a limit for all requests.
func newShare(t *testing.T, limit int) *share {
	t.Helper()
	s, err := newMemory(limit).open("jane", 0)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestMemory_IsHalfOfTheHeap(t *testing.T) {
	for heap, want := range map[int64]int{350 << 20: 175 << 20, 1 << 20: minMemory, math.MaxInt64: unlimitedMemory} {
		if got := memoryOf(heap); got != want {
			t.Errorf("of %d MiB: %d MiB, want %d", heap>>20, got>>20, want>>20)
		}
	}
}

func TestMemory_IsSharedByAllRequests(t *testing.T) {
	m := newMemory(8 << 20)
	open := func(user string, agents int) (*share, error) { return m.open(user, agents) }
	a, err := open("jane", 2)
	if err != nil || m.held != requestMemory+2*(streamMemory+maxWindow) {
		t.Fatalf("%v, %d bytes are held", err, m.held)
	}
	// What is reserved costs nothing more.
	if err := a.tryHold(partQueue, requestMemory/2); err != nil || m.held != requestMemory+2*(streamMemory+maxWindow) {
		t.Errorf("%v, %d bytes are held", err, m.held)
	}
	if err := a.tryHold(partAnswer, 3<<20); err != nil {
		t.Error(err)
	}
	// One user has at most half.
	err = a.tryHold(partAnswer, 4<<20)
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "may hold 4 MiB for one user") {
		t.Errorf("beyond a user's part: %v", err)
	}
	if err := a.tryHold(partAnswer, 3<<20); err != nil {
		t.Errorf("what is held is refused: %v", err)
	}
	b, err := open("john", 0)
	if err != nil {
		t.Fatal(err)
	}
	// What is held already counts, though it is too much.
	if err := b.hold(partMerge, 5<<20); status.Code(err) != codes.ResourceExhausted || m.held < 8<<20 {
		t.Errorf("beyond the limit: %v, %d MiB are held", err, m.held>>20)
	}
	_, err = open("mary", 0)
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "may hold 8 MiB: try again") {
		t.Errorf("opened beyond the limit: %v", err)
	}
	b.close()
	a.close()
	if m.held != 0 || len(m.heldOf) != 0 {
		t.Errorf("%d bytes are left, of %v", m.held, m.heldOf)
	}
}

func TestQuery_WithoutMemoryIsRefused(t *testing.T) {
	a := &fakeAgent{node: "a"}
	for i := range uint64(20_000) {
		a.history = append(a.history, dnsEvent(now+i, "shop", "web"))
	}
	h := newHarness(t, &fakeDoor{}, a)
	h.service.memory = newMemory(4 << 20)
	stream, err := h.client.QueryEvents(t.Context(), &orbit.QueryRequest{Protocol: orbit.Protocol, Last: 20_000,
		Selection: &orbit.Selection{Kinds: []string{"dns"}}})
	for err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("ended with %v", err)
	}
	// Without last, the events are passed on one by one.
	events, _ := h.answers(&orbit.QueryRequest{Selection: &orbit.Selection{Kinds: []string{"dns"}}})
	if len(events) != len(a.history) {
		t.Errorf("%d events, want %d", len(events), len(a.history))
	}
	if h.service.memory.held != 0 {
		t.Errorf("%d bytes are left", h.service.memory.held)
	}
}

func TestQueue_CountsWhatMemoryRefuses(t *testing.T) {
	m := newMemory(4 << 20)
	other, err := m.open("john", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.tryHold(partQueue, 2<<20); err != nil {
		t.Fatal(err)
	}
	mine, err := m.open("jane", 0)
	if err != nil {
		t.Fatal(err)
	}
	q := newQueue(mine, func(uint64) {})
	const produced = 40_000
	for i := range uint64(produced) {
		q.add(dnsEvent(i, "shop", "web"))
	}
	if n := len(q.events); n == 0 || uint64(n)+q.lost[lossKey{"", "shop", "web"}] != produced || m.held > m.limit {
		t.Errorf("%d events wait, %v are lost, %d bytes are held", n, q.lost, m.held)
	}
	for len(q.events) > 0 {
		if _, _, err := q.poll(); err != nil {
			t.Fatal(err)
		}
	}
	if fmt.Sprint(mine.held) != fmt.Sprint(mine.reserved) {
		t.Errorf("an empty queue holds %d bytes", mine.held)
	}
}
