package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/faults"
	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// crowdedStart is how long tracers may take to start on a crowded node, beside other work of this machine.
const crowdedStart = 3 * time.Minute

// podVerdictRow holds fields of a podVerdict event.
type podVerdictRow struct {
	Namespace, Pod, Workload, Verdict, Second, Confidence, Peer, Words, RootPod, RootCause, Missing string
	Healthy                                                                                         bool
	Evidence                                                                                        map[string]any
}

func (r *podVerdictRow) String() string {
	return fmt.Sprintf("%s (%s) about %q, second %s, root %s of %s; missing %q", r.Verdict, r.Confidence, r.Peer,
		r.Second, r.RootCause, r.RootPod, r.Missing)
}

// diagnosis compares verdicts with the truth.
type diagnosis struct {
	what string
	// faults and controls are answers, named and healthy those that were right. roots are ends of chains, rootsNamed
	// those that were found.
	faults, named, controls, healthy, roots, rootsNamed int
	// sure are wrong verdicts of high confidence.
	sure int
	// crowded are verdicts of a crowded node about pods that had nothing to do with it, while the rest of the machine
	// used its CPUs: they are true, and say nothing about the scenario. busy: it did so in this group.
	crowded int
	busy    bool
	lines   []string
	// matrix counts the first verdicts about a wanted cause.
	matrix map[faults.Cause]map[faults.Cause]int
}

// compare compares the verdicts about a scenario's targets.
func (d *diagnosis) compare(s *faults.Stage, rows []podVerdictRow) {
	for _, want := range s.Want {
		for _, r := range rows {
			if r.Namespace == s.Namespace && (r.Pod == want.Target || r.Workload == want.Target) {
				d.add(s, want, &r)
			}
		}
	}
}

func (d *diagnosis) add(s *faults.Stage, want faults.Answer, r *podVerdictRow) {
	right := slices.Contains(want.First, faults.Cause(r.Verdict))
	if !right && d.busy && r.Verdict == string(faults.CrowdedNode) {
		d.crowded++
		d.lines = append(d.lines, fmt.Sprintf("busy  %-20s %-12s want %v: %s", s.Name, r.Pod, want.First, r))
		return
	}
	cause := want.First[0]
	if want.Healthy {
		right, cause = r.Healthy, healthy
		d.controls++
		if right {
			d.healthy++
		}
	} else {
		d.faults++
		if right {
			d.named++
		}
	}
	if !right && r.Confidence == "high" {
		d.sure++
	}
	d.count(cause, faults.Cause(r.Verdict), right)
	var also []string
	for _, c := range want.Also {
		if r.Verdict != string(c) && r.Second != string(c) {
			also = append(also, "not also "+string(c))
		}
	}
	for _, p := range want.Peers {
		if !strings.Contains(r.Peer+" "+r.Words, p) {
			also = append(also, "not about "+p)
		}
	}
	if root := want.Root; root.Pod != "" {
		d.roots++
		if r.RootPod == s.Namespace+"/"+root.Pod && r.RootCause == string(root.Cause) {
			d.rootsNamed++
		} else {
			also = append(also, fmt.Sprintf("not of %s of %s", root.Cause, root.Pod))
		}
	}
	mark := "ok   "
	if !right {
		mark = "WRONG"
	}
	d.lines = append(d.lines, fmt.Sprintf("%s %-20s %-12s want %v: %s %s %v", mark, s.Name, r.Pod, want.First, r,
		also, r.Evidence))
}

// healthy is the row of the matrix of all that has no fault.
const healthy faults.Cause = "healthy"

func (d *diagnosis) count(want, got faults.Cause, right bool) {
	if right {
		got = want
	}
	if d.matrix == nil {
		d.matrix = map[faults.Cause]map[faults.Cause]int{}
	}
	if d.matrix[want] == nil {
		d.matrix[want] = map[faults.Cause]int{}
	}
	d.matrix[want][got]++
}

// log prints each verdict, and the sums.
func (d *diagnosis) log(t *testing.T) {
	// Also where the test passes.
	fmt.Printf("note: why, %s\n", d.sums())
	t.Log(d.sums())
	for _, line := range d.lines {
		t.Log(line)
	}
}

func (d *diagnosis) sums() string {
	return fmt.Sprintf("%s: %d of %d faults named first, %d of %d roots of chains, %d of %d healthy pods found "+
		"healthy, %d wrong with high confidence, %d waited for CPUs of this machine", d.what, d.named, d.faults,
		d.rootsNamed, d.roots, d.healthy, d.controls, d.sure, d.crowded)
}

// expect fails the test if more than some faults were not named first, or roots not found, or anything was claimed that
// is not so.
func (d *diagnosis) expect(t *testing.T, missed int) {
	t.Helper()
	if d.faults-d.named > missed || d.roots-d.rootsNamed > missed || d.sure > 0 || d.healthy < d.controls {
		t.Errorf("%s: want at most %d faults not named first and as many roots, no healthy pod with a fault, and no "+
			"wrong verdict of high confidence", d.what, missed)
	}
}

// proof collects what a scenario's own counters say against it: the machine may be too busy for a fault, or for a
// control to be undisturbed. Its verdicts then say nothing.
type proof struct {
	testing.TB
	against []string
}

func (p *proof) Errorf(format string, args ...any) {
	p.Helper()
	p.against = append(p.against, fmt.Sprintf(format, args...))
}

const (
	// maxUnproven is how many scenarios may not be as they should on this machine.
	maxUnproven = 4
	// maxMissed is how many faults may not be named first.
	maxMissed = 2
)

// TestWhy_Faults starts the scenarios of package faults, group by group, proves by the kernel's and the workload's own
// counters that each fault is there, and compares what why answers, live and from its recording, with the truth. With
// ORB8_UPDATE=1 it writes the answers into docs/why.md.
func TestWhy_Faults(t *testing.T) {
	e := kit.NeedOwn(t)
	live, replayed := diagnosis{what: "live"}, diagnosis{what: "replayed"}
	var shown answers
	unproven := 0
	for _, group := range faults.Groups {
		t.Run(string(group), func(t *testing.T) {
			stages := faults.Start(t, e, faults.InGroup(group)...)
			checks := make([]func(testing.TB), len(stages))
			for i, s := range stages {
				checks[i] = s.Measure(t)
			}
			total, idle := kit.MachineCPU(t)
			file := filepath.Join(t.TempDir(), "why.orb8")
			tr := e.Trace(t, "why", "-A", "--window", "20s", "-o", "json", "--record", file)
			tr.AwaitStderrFor(t, `(?m)^2/2 nodes streaming$`, crowdedStart)
			if code := tr.Wait(t); code != 0 {
				t.Fatalf("exit code %d: %s", code, tr.Stderr())
			}
			totalAfter, idleAfter := kit.MachineCPU(t)
			live.busy = 4*(idleAfter-idle) < totalAfter-total
			replayed.busy = live.busy
			tr.CheckSchema(t)
			var rows, fromFile []podVerdictRow
			tr.JQ(t, &rows, `map(select(.kind == "podVerdict"))`)
			replay := func(args ...string) *kit.Trace {
				re := e.Trace(t, append([]string{"replay", file, "--why", "pod"}, args...)...)
				if code := re.Wait(t); code != 0 {
					t.Fatalf("exit code %d: %s", code, re.Stderr())
				}
				return re
			}
			replay("-o", "json").JQ(t, &fromFile, `map(select(.kind == "podVerdict"))`)
			text := replay().Stdout(t)
			for i, s := range stages {
				t.Run(s.Name, func(t *testing.T) {
					p := &proof{TB: t}
					checks[i](p)
					if len(p.against) > 0 {
						unproven++
						fmt.Printf("note: why, %s is not as it should be here: %s\n", s.Name,
							strings.Join(p.against, "; "))
						return
					}
					live.compare(s, rows)
					replayed.compare(s, fromFile)
					shown.keep(s, fromFile, text)
				})
			}
		})
	}
	live.log(t)
	replayed.log(t)
	if unproven > maxUnproven {
		t.Errorf("%d scenarios were not as they should be, want at most %d", unproven, maxUnproven)
	}
	live.expect(t, maxMissed)
	replayed.expect(t, maxMissed)
	if updatePages() {
		shown.write(t, &live, &replayed)
	}
}
