package main

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// TestPlan_OneEventASecond counts what each end of some flows reports.
func TestPlan_OneEventASecond(t *testing.T) {
	p := &plan{agents: 100, flows: 10, pods: 5, start: time.Unix(1_700_000_000, 0)}
	for number := range p.flowCount() {
		f := p.flow(number)
		for side := range 2 {
			next := int64(-1)
			events := int64(0)
			for at := origin; at < origin+2*life*second; at++ {
				s, ok := f.at(side, at)
				if !ok {
					continue
				}
				events++
				if next >= 0 && s.age != next {
					t.Fatalf("flow %d, side %d, tick %d: age %d, want %d", number, side, at, s.age, next)
				}
				next = (s.age + 1) % life
			}
			if events != 2*life {
				t.Fatalf("flow %d, side %d: %d events in %d s", number, side, events, 2*life)
			}
		}
	}
}

// TestTemplate_IsAnEvent decodes an event of each phase.
func TestTemplate_IsAnEvent(t *testing.T) {
	p := &plan{agents: 100, flows: 10, pods: 5}
	for number := range p.flowCount() {
		f := p.flow(number)
		for side := range 2 {
			made, err := newTemplate(f, side)
			if err != nil {
				t.Fatal(err)
			}
			for age, phase := range map[int64]event.Phase{0: event.Phase_PHASE_NEW, 1: event.Phase_PHASE_UPDATE,
				life - 1: event.Phase_PHASE_CLOSED} {
				ev := &event.Event{}
				encoded := made.appendEvent(nil, state{4, age}, 1_700_000_000_000_000_000)
				if err := proto.Unmarshal(encoded, ev); err != nil {
					t.Fatal(err)
				}
				half := ev.GetFlow()
				counters := half.GetSrcCounters()
				if side == 1 {
					counters = half.GetDstCounters()
				}
				if half.GetPhase() != phase || half.GetSrcIsn() != uint32(number+1) ||
					half.GetDstIsn() != serverISN|4 || ageOf(counters.GetBytesSent()) != age ||
					half.GetSrc().GetPort() != uint32(f.port(4)) || half.GetSocketCookie() != f.cookie(side, 4) {
					t.Fatalf("age %d: %v", age, ev)
				}
			}
		}
	}
}
