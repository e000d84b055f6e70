package advice

import (
	"fmt"
	"slices"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
)

const (
	// maxContainers bounds the containers that are tracked.
	maxContainers = 10_000
	// minThrottled is the least share of throttled periods, in percent, that is reported.
	minThrottled = 10
	// minMemory is the least share of a memory limit, in percent, that is reported.
	minMemory = 90
)

// limits finds the containers that reach one of their limits.
type limits struct {
	containers map[string]*limited // by id
	// skipped counts the events of containers beyond maxContainers.
	skipped int
}

// limited is the first and the last sample of one container.
type limited struct {
	name        string
	first, last *event.Resources
	memory      uint64 // maximum, in percent of the limit
}

func newLimits() *limits { return &limits{containers: map[string]*limited{}} }

func (s *limits) add(ev *event.Event) {
	r := ev.GetResources()
	if r == nil {
		return
	}
	c := s.containers[r.GetId()]
	if c == nil {
		if len(s.containers) == maxContainers {
			s.skipped++
			return
		}
		c = &limited{name: ev.GetNamespace() + "/" + ev.GetPod(), first: r}
		if ev.GetContainer() != "" {
			c.name += " (" + ev.GetContainer() + ")"
		}
		s.containers[r.GetId()] = c
	}
	c.last, c.memory = r, max(c.memory, r.GetMemory().GetPercent())
}

// summary returns a line for each limit that is reached, the worst first.
func (s *limits) summary() (lines []string) {
	type found struct {
		line   string
		weight uint64
	}
	var all []found
	for _, c := range s.containers {
		first, last := c.first, c.last
		if kills := last.GetMemory().GetOomKills() - min(first.GetMemory().GetOomKills(),
			last.GetMemory().GetOomKills()); kills > 0 {
			all = append(all,
				found{fmt.Sprintf("memory: %s: the kernel killed %d %s for want of memory, at a limit of %s",
					c.name, kills, plural.Noun(kills, "process"), memoryLimit(last)), 1000})
		}
		if c.memory >= minMemory {
			all = append(all, found{fmt.Sprintf("memory: %s was at %d%% of its limit of %s", c.name, c.memory,
				memoryLimit(last)), 200 + c.memory})
		}
		if percent, ok := throttled(first, last); ok && percent >= minThrottled {
			all = append(all,
				found{fmt.Sprintf("cpu: %s stood still in %d%% of the periods: its limit of %dm holds it back",
					c.name, percent, last.GetCpu().GetLimitMillis()), percent})
		}
	}
	slices.SortFunc(all, func(a, b found) int {
		if a.weight != b.weight {
			return int(b.weight) - int(a.weight)
		}
		return strings.Compare(a.line, b.line)
	})
	for i, f := range all {
		if i == maxFindings {
			lines = append(lines, fmt.Sprintf("… and %d more such findings", len(all)-i))
			break
		}
		lines = append(lines, f.line)
	}
	if s.skipped > 0 {
		lines = append(lines, fmt.Sprintf("limits are checked for the first %d containers only", maxContainers))
	}
	return lines
}

// throttled returns the share of throttled periods between two samples, in percent. For a single sample it is the share
// in the sample's own interval.
func throttled(first, last *event.Resources) (percent uint64, ok bool) {
	a, b := first.GetCpu(), last.GetCpu()
	if b.GetPeriods() > a.GetPeriods() && b.GetThrottledPeriods() >= a.GetThrottledPeriods() {
		return 100 * (b.GetThrottledPeriods() - a.GetThrottledPeriods()) / (b.GetPeriods() - a.GetPeriods()), true
	}
	if first == last && b != nil && b.ThrottledPercent != nil {
		return b.GetThrottledPercent(), true
	}
	return 0, false
}

// memoryLimit formats the container's memory limit.
func memoryLimit(r *event.Resources) string {
	if r.GetMemory() == nil || r.Memory.LimitBytes == nil {
		return "n/a"
	}
	return string(event.AppendBytes(nil, r.GetMemory().GetLimitBytes()))
}
