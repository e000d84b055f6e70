package faults

import (
	"slices"
	"testing"
)

// TestScenarios_AreComplete checks the table: without an answer a scenario would prove nothing.
func TestScenarios_AreComplete(t *testing.T) {
	healthy := []Cause{Busy, Idle}
	names, faults, controls := map[string]bool{}, 0, 0
	for _, s := range All() {
		if names[s.Name] {
			t.Errorf("%s is there twice", s.Name)
		}
		names[s.Name] = true
		if s.Healthy() {
			controls++
		} else {
			faults++
		}
		if s.Fault == "" || s.setup == nil || len(s.Want) == 0 || !slices.Contains(Groups, s.Group) {
			t.Errorf("%s: %+v", s.Name, s)
		}
		for _, a := range s.Want {
			if a.Target == "" || len(a.First) == 0 || slices.Contains(a.First, Unknown) {
				t.Errorf("%s: %+v", s.Name, a)
			}
			for _, c := range slices.Concat(a.First, a.Also) {
				if slices.Contains(healthy, c) != a.Healthy {
					t.Errorf("%s, %s: %s, but healthy=%v", s.Name, a.Target, c, a.Healthy)
				}
			}
			if a.Root != (Root{}) && !slices.ContainsFunc(s.Want, func(root Answer) bool {
				return root.Target == a.Root.Pod && slices.Contains(root.First, a.Root.Cause)
			}) {
				t.Errorf("%s: the root of %s has no such answer: %+v", s.Name, a.Target, a.Root)
			}
		}
	}
	if faults < 24 || controls < 8 {
		t.Errorf("%d faults and %d controls", faults, controls)
	}
	t.Logf("%d faults and %d controls", faults, controls)
	total := 0
	for _, g := range Groups {
		total += len(InGroup(g))
	}
	if total != len(All()) {
		t.Errorf("%d scenarios in groups, of %d", total, len(All()))
	}
}

// Each cause that a verdict may have is in some scenario, in the first place.
func TestScenarios_CoverCauses(t *testing.T) {
	for _, cause := range []Cause{CPULimit, CrowdedNode, MemoryLimit, OOMKilled, MemoryPressure, DiskWait, DNSTimeout,
		DNSSlow, DNSSearch, DNSNotFound, Refused, WrongPort, NoEndpoints, Unanswered, Reset, BacklogFull, PolicyDrop,
		PacketLoss, SlowPeer, Churn, Crash, MissingFile, Permission, ProbeFailing, Lock, NotStarted, Busy, Idle} {
		if !slices.ContainsFunc(All(), func(s *Scenario) bool {
			return slices.ContainsFunc(s.Want, func(a Answer) bool { return a.First[0] == cause })
		}) {
			t.Errorf("no scenario has the cause %s", cause)
		}
	}
}
