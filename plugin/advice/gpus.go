package advice

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
)

const (
	// maxGPUs bounds the devices and the nodes that are tracked.
	maxGPUs = 10_000
	// minIdle is how long a held GPU is idle before the closing lines name it.
	minIdle = 2 * time.Second
)

// gpus finds nodes whose GPUs are unreadable, GPUs that are held and idle, and GPU errors.
type gpus struct {
	nodes   map[string]string // the last error, empty where a device was read
	calls   map[string]string // the last error of counting calls
	devices map[string]*gpuUse
	errors  []string
	more    int // errors beyond maxFindings
	// warnings are the nodes' warnings about their GPUs, without repetitions.
	warnings []string
}

// gpuUse is the use of one device.
type gpuUse struct {
	name, usedBy string
	// since is the first of the latest consecutive samples in which the device was held and idle; 0: it is not.
	since, last uint64
	// unused: no process was on it for all of that time.
	unused bool
	// bypass names the containers that used it without an allocation.
	bypass []string
}

func newGPUs() *gpus {
	return &gpus{nodes: map[string]string{}, calls: map[string]string{}, devices: map[string]*gpuUse{}}
}

func (s *gpus) add(ev *event.Event) {
	if warning, ok := strings.CutPrefix(ev.GetNodeStatus().GetMessage(), event.GpuWarning); ok {
		if w := event.GpuWarning + ev.GetNode() + ": " + warning; len(s.warnings) < maxFindings &&
			!slices.Contains(s.warnings, w) {
			s.warnings = append(s.warnings, w)
		}
		return
	}
	g := ev.GetGpu()
	if g == nil {
		return
	}
	switch g.GetType() {
	case event.GpuEventType_GPU_EVENT_TYPE_UNAVAILABLE:
		failures, failure := s.nodes, g.GetMessage()
		if rest, ok := strings.CutPrefix(failure, event.CallsNotCounted+": "); ok {
			failures, failure = s.calls, rest
		}
		if _, known := failures[ev.GetNode()]; known || len(failures) < maxGPUs {
			failures[ev.GetNode()] = failure
		}
	case event.GpuEventType_GPU_EVENT_TYPE_XID, event.GpuEventType_GPU_EVENT_TYPE_LOST:
		if len(s.errors) == maxFindings {
			s.more++
			return
		}
		whose := g.GetUsedBy()
		if ev.GetPod() != "" {
			whose = ev.GetNamespace() + "/" + ev.GetPod()
		}
		if whose == "" {
			whose = "no traced pod"
		}
		s.errors = append(s.errors, fmt.Sprintf("gpu: %s: %s; used by %s", gpuName(ev), g.GetMessage(), whose))
	case event.GpuEventType_GPU_EVENT_TYPE_DEVICE:
		if len(s.nodes) < maxGPUs {
			s.nodes[ev.GetNode()] = ""
		}
		s.use(ev)
	}
}

// use tracks whether a device is held and idle.
func (s *gpus) use(ev *event.Event) {
	g := ev.GetGpu()
	key := ev.GetNode() + " " + g.GetGpu().GetUuid()
	u := s.devices[key]
	if u == nil {
		if len(s.devices) == maxGPUs {
			return
		}
		u = &gpuUse{name: gpuName(ev)}
		s.devices[key] = u
	}
	// The message is empty for a GPU whose MIG devices are bypassed: those have it.
	if g.GetUse() == event.GpuUse_GPU_USE_BYPASS && g.GetMessage() != "" && len(u.bypass) < maxFindings &&
		!slices.Contains(u.bypass, g.GetMessage()) {
		u.bypass = append(u.bypass, g.GetMessage())
	}
	if !g.HeldIdle() {
		u.since = 0
		return
	}
	holders, unused := cmp.Or(g.GetUsedBy(), g.GetAllocatedTo()), g.GetUse() == event.GpuUse_GPU_USE_UNUSED
	if u.since == 0 || u.usedBy != holders || u.unused != unused {
		u.since, u.usedBy, u.unused = ev.GetTime(), holders, unused
	}
	u.last = ev.GetTime()
}

// gpuName is "node/0 (NVIDIA H100)".
func gpuName(ev *event.Event) string {
	d := ev.GetGpu().GetGpu()
	name := string(event.AppendGpuName(nil, ev.GetNode(), d))
	if d.GetName() != "" {
		name += " (" + d.GetName() + ")"
	}
	return name
}

// summary returns the closing lines about GPUs.
func (s *gpus) summary() (lines []string) {
	lines = append(lines, s.errors...)
	if s.more > 0 {
		lines = append(lines, fmt.Sprintf("gpu: … and %d more errors", s.more))
	}
	lines = append(lines, s.bypasses()...)
	var idle []*gpuUse
	for _, u := range s.devices {
		if u.since != 0 && u.last-u.since >= uint64(minIdle) {
			idle = append(idle, u)
		}
	}
	slices.SortFunc(idle, func(a, b *gpuUse) int {
		if x, y := b.last-b.since, a.last-a.since; x != y && x/1e9 != y/1e9 {
			return int(x/1e9) - int(y/1e9)
		}
		return strings.Compare(a.name, b.name)
	})
	for i, u := range idle {
		if i == maxFindings {
			lines = append(lines, fmt.Sprintf("gpu: … and %d more GPUs that are held and do nothing", len(idle)-i))
			break
		}
		format := "gpu: %s has done nothing for the last %v, and is held by %s"
		if u.unused {
			format = "gpu: %s has had no process for the last %v, and is allocated to %s"
		}
		lines = append(lines, fmt.Sprintf(format, u.name, time.Duration(u.last-u.since).Round(time.Second), u.usedBy))
	}
	lines = append(lines, s.warnings...)
	lines = append(lines, unreadable("nothing to read", s.nodes)...)
	lines = append(lines, unreadable(event.CallsNotCounted, s.calls)...)
	for i, l := range lines {
		lines[i] = string(safe.AppendText(nil, l))
	}
	return lines
}

// bypasses names the containers that used GPUs without an allocation.
func (s *gpus) bypasses() (lines []string) {
	for _, u := range s.devices {
		for _, message := range u.bypass {
			lines = append(lines, fmt.Sprintf("gpu: %s was %s", u.name, message))
		}
	}
	slices.Sort(lines)
	if n := len(lines); n > maxFindings {
		lines = append(lines[:maxFindings], fmt.Sprintf("gpu: … and %d more that use GPUs they were not given",
			n-maxFindings))
	}
	return lines
}

// unreadable lists the nodes of each failure.
func unreadable(what string, failures map[string]string) (lines []string) {
	by := map[string][]string{}
	var reasons []string
	for node, failure := range failures {
		if failure == "" {
			continue
		}
		if by[failure] == nil {
			reasons = append(reasons, failure)
		}
		by[failure] = append(by[failure], node)
	}
	slices.Sort(reasons)
	for i, r := range reasons {
		if i == maxFindings {
			return append(lines, fmt.Sprintf("gpu: … and %d more reasons: %s", len(reasons)-i, what))
		}
		slices.Sort(by[r])
		nodes := by[r]
		more := ""
		if len(nodes) > maxFindings {
			nodes, more = nodes[:maxFindings], fmt.Sprintf(" and %d more", len(nodes)-maxFindings)
		}
		lines = append(lines, fmt.Sprintf("gpu: %s on %s%s: %s", what, strings.Join(nodes, ", "), more, r))
	}
	return lines
}
