package why_test

import (
	"strings"
	"testing"
	"unicode"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/why"
	"github.com/orb8-dev/kubectl-orb8/plugin/why/internal/scenario"
)

// verdictsOf are those of a scenario.
func verdictsOf(seed uint64) []*event.Event {
	w := why.New(30e9)
	for _, ev := range scenario.Generate(seed).Events {
		w.Add(ev)
	}
	return w.Verdicts()
}

// shown are seeds of scenarios for the golden files: each cause once.
func shown(t *testing.T) (list []uint64) {
	t.Helper()
	var seen [scenario.Causes]bool
	for seed := uint64(tuning); len(list) < scenario.Causes; seed++ {
		s := scenario.Generate(seed)
		if c, _, _ := s.Pods[0].Truth.Dominant(); !seen[c] && len(s.Pods) < 3 {
			seen[c] = true
			list = append(list, seed)
		}
	}
	return list
}

func TestText_MatchesGoldenFiles(t *testing.T) {
	onlyHere(t)
	var out []byte
	for _, seed := range shown(t) {
		out = append(append(out, "# "+scenario.Generate(seed).Label...), '\n')
		for _, ev := range verdictsOf(seed) {
			out = append(why.AppendText(out, ev, "ml"), '\n')
		}
	}
	golden(t, "testdata/text.golden", string(out))
}

func TestJSON_MatchesGoldenFiles(t *testing.T) {
	onlyHere(t)
	var out []byte
	for _, seed := range shown(t) {
		for _, ev := range verdictsOf(seed) {
			out = append(event.AppendJSON(out, ev), '\n')
		}
	}
	golden(t, "testdata/verdicts.golden", string(out))
}

func TestText_IsSafeForATerminal(t *testing.T) {
	ev := &event.Event{
		Namespace: "n\x1b[2J",
		Pod:       "p\u202e",
		Node:      "a\nb",
		Kind: &event.Event_GpuVerdict{GpuVerdict: &event.GpuVerdict{
			Words: "\x07", Workload: "\x9b", Missing: "\x00", Evidence: &event.GpuEvidence{Throttle: "\r", Xids: "\t"},
		}},
	}
	for _, line := range strings.Split(strings.TrimSuffix(string(why.AppendText(nil, ev, "")), "\n"), "\n") {
		for _, r := range line {
			if !unicode.IsPrint(r) {
				t.Errorf("%q has %q", line, r)
			}
		}
	}
}

func TestText_SharesSumToTheWindow(t *testing.T) {
	for seed := range uint64(200) {
		for _, ev := range verdictsOf(seed) {
			v := ev.GetGpuVerdict()
			if v.GetShares() == nil {
				continue
			}
			sum := 0.0
			for c := range scenario.Causes {
				x := v.GetShares().Of(event.GpuCause(c))
				if x < 0 || x > 100.001 {
					t.Errorf("seed %d: %s has %v%%", seed, event.GpuCause(c).Word(), x)
				}
				sum += x
			}
			if sum < 99.9 || sum > 100.1 {
				t.Errorf("seed %d: shares come to %v%%", seed, sum)
			}
		}
	}
}
