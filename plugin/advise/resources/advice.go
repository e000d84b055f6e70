package resources

import (
	"fmt"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/plugin/advise/manifest"
)

// The rules, whose reasons are in docs/advise-resources.md.
const (
	// ShortObservation is the length below which an observation is reported as short.
	ShortObservation = time.Hour
	// minCPU is the least request, in thousandths of a CPU: the scheduler would place any number of smaller ones.
	minCPU = 10
	// throttledPercent is the share of enforcement periods from which on a CPU limit is raised, and muchThrottled the
	// one from which on it is doubled.
	throttledPercent, muchThrottled = 1, 50
	// headroomPercent is added to the largest amount of memory, and at least minHeadroom.
	headroomPercent, minHeadroom = 20, 16 * mebibyte
	// cutPercent is the share of its memory limit from which on an amount is reported as possibly cut by it.
	cutPercent = 90
	mebibyte   = 1 << 20
)

// Amounts are requests and limits: thousandths of a CPU, and bytes. Absent is not set, or not known.
type Amounts struct {
	CPURequest, CPULimit, MemoryRequest, MemoryLimit *uint64
}

// Today is what Kubernetes knows of a container now.
type Today struct {
	Amounts
	// Init: it is one of initContainers. OOMKilled: it was killed for want of memory before its last restart.
	Init, OOMKilled bool
}

// Options are what the advice takes besides the events.
type Options struct {
	// Length is how long was observed.
	Length time.Duration
	// Today returns what Kubernetes knows of a container; nil: nothing.
	Today func(of manifest.Owner, container string) *Today
}

// Seen is the observed use by the containers of all pods of a workload: the largest of each.
type Seen struct {
	Pods          int
	Samples       uint64
	P95, PeakCPU  *uint64 // thousandths of a CPU
	Throttled     *uint64 // percent of the enforcement periods
	WorkingSet    *uint64 // bytes that the kernel cannot take back without harm
	ChargedMemory *uint64 // bytes, with the page cache
	OOMKills      *uint64
}

// Advice is the requests and limits of one container of a workload.
type Advice struct {
	Owner     manifest.Owner
	Container string
	Seen      Seen
	// Today is what is set now; nil: Kubernetes was not asked, or does not have the container. Limits are then those
	// that the kernel enforced.
	Today *Today
	Advised,
	// Enforced are the limits that the kernel reported.
	Enforced Amounts
	// Evidence lists what the advice is made of, Warnings what is wrong with it.
	Evidence, Warnings []string
}

// Advise returns advice for each observed container, sorted by name.
func (o *Observed) Advise(options Options) (all []*Advice) {
	for _, c := range o.sorted() {
		a := &Advice{Owner: c.owner, Container: c.name}
		a.sum(c)
		if options.Today != nil {
			a.Today = options.Today(c.owner, c.name)
		}
		a.adviseCPU()
		a.adviseMemory()
		if options.Length < ShortObservation {
			a.warn("observed for %s only: requests for the busiest hour need an observation of it",
				options.Length.Round(time.Second))
		}
		head := fmt.Sprintf("container %s of %s: %s, %s, observed for %s", c.name, c.owner,
			plural.Count(a.Seen.Pods, "pod"), plural.Count(a.Seen.Samples, "sample"), options.Length.Round(time.Second))
		a.Evidence = append([]string{head}, a.Evidence...)
		all = append(all, a)
	}
	return all
}

// sum takes the largest use of all pods: each of them gets the same requests.
func (a *Advice) sum(c *container) {
	s := &a.Seen
	s.Pods = len(c.pods)
	for _, u := range c.pods {
		s.Samples += u.samples
		if u.cpu.total > 0 {
			p95, peak := u.cpu.quantile(95), u.cpu.max
			s.P95, s.PeakCPU = larger(s.P95, &p95), larger(s.PeakCPU, &peak)
		}
		if u.periods.seen && u.periods.sum > 0 {
			share := u.throttled.sum * 100 / u.periods.sum
			s.Throttled = larger(s.Throttled, &share)
		}
		s.WorkingSet = larger(s.WorkingSet, u.working)
		s.ChargedMemory = larger(larger(s.ChargedMemory, u.charged), u.peak)
		if u.killed != nil {
			sum := *u.killed
			if s.OOMKills != nil {
				sum += *s.OOMKills
			}
			s.OOMKills = &sum
		}
		a.Enforced.CPULimit = larger(a.Enforced.CPULimit, u.cpuLimit)
		a.Enforced.MemoryLimit = larger(a.Enforced.MemoryLimit, u.memoryLimit)
	}
}

func (a *Advice) warn(format string, args ...any) {
	a.Warnings = append(a.Warnings, fmt.Sprintf(format, args...))
}

// today is an amount that is set now; that of the kernel, if Kubernetes was not asked.
func (a *Advice) today(of func(*Amounts) *uint64) *uint64 {
	if a.Today != nil {
		return of(&a.Today.Amounts)
	}
	return of(&a.Enforced)
}

// adviseCPU: the request is what suffices for 95 % of the time. A limit is advised only if there is one.
func (a *Advice) adviseCPU() {
	s := &a.Seen
	limit := a.today(func(t *Amounts) *uint64 { return t.CPULimit })
	if s.P95 == nil {
		a.Evidence = append(a.Evidence, "CPU: not known: no sample has it; no advice")
		return
	}
	request := roundCPU(max(*s.P95, minCPU))
	a.Advised.CPURequest = &request
	text := fmt.Sprintf("CPU: p95 %s, peak %s", cpu(s.P95), cpu(s.PeakCPU))
	if limit == nil {
		text += "; no limit is set, and none is advised"
	} else {
		advised := max(*limit, roundCPU(*s.PeakCPU), request)
		switch {
		case s.Throttled == nil:
			text += "; throttling is not known"
		case *s.Throttled >= throttledPercent:
			factor := uint64(150)
			if *s.Throttled >= muchThrottled {
				factor = 200
			}
			advised = max(advised, roundCPU(*limit*factor/100))
			text += fmt.Sprintf("; throttled in %d%% of the periods", *s.Throttled)
			a.warn("its CPU limit of %s held it back in %d%% of the periods, so that p95 and peak are cut: the limit "+
				"is raised to %s; observe again with it", cpu(limit), *s.Throttled, cpu(&advised))
		default:
			text += "; not throttled"
		}
		a.Advised.CPULimit = &advised
	}
	a.Evidence = append(a.Evidence, text+a.compare(func(t *Amounts) (*uint64, *uint64) {
		return t.CPURequest, t.CPULimit
	}, cpu))
}

// adviseMemory: the request is the largest working set, the limit has headroom above it.
func (a *Advice) adviseMemory() {
	s := &a.Seen
	limit := a.today(func(t *Amounts) *uint64 { return t.MemoryLimit })
	if s.WorkingSet == nil {
		a.Evidence = append(a.Evidence, "memory: not known: no sample has it; no advice")
		return
	}
	request := roundMemory(*s.WorkingSet)
	advised := roundMemory(*s.WorkingSet + max(*s.WorkingSet*headroomPercent/100, minHeadroom))
	killed := s.OOMKills != nil && *s.OOMKills > 0 || a.Today != nil && a.Today.OOMKilled
	text := fmt.Sprintf("memory: largest working set %s, with page cache %s, %s", memory(s.WorkingSet),
		memory(s.ChargedMemory), kills(s.OOMKills))
	if a.Today != nil && a.Today.OOMKilled {
		text += ", killed before its last restart"
	}
	switch {
	case killed && limit != nil:
		advised = max(advised, roundMemory(*limit+*limit/2))
		request = max(request, roundMemory(*limit))
		a.warn("it ran out of memory: the peak is cut by its limit of %s, and how much it needs is not known: "+
			"the limit is raised to %s; observe again with it", memory(limit), memory(&advised))
	case killed:
		a.warn("processes were killed for want of memory without a limit of the container: the node was full")
	case limit != nil && *s.WorkingSet >= *limit/100*cutPercent:
		a.warn("its working set was at %d%% of its memory limit: the peak may be cut by the limit",
			*s.WorkingSet*100/max(*limit, 1))
	}
	a.Advised.MemoryRequest, a.Advised.MemoryLimit = &request, &advised
	a.Evidence = append(a.Evidence, text+a.compare(func(t *Amounts) (*uint64, *uint64) {
		return t.MemoryRequest, t.MemoryLimit
	}, memory))
}

func kills(n *uint64) string {
	if n == nil {
		return "OOM kills not known"
	}
	return plural.Count(*n, "OOM kill")
}

// compare is today's request and limit, and the advised ones.
func (a *Advice) compare(of func(*Amounts) (request, limit *uint64), text func(*uint64) string) string {
	request, limit := of(&a.Advised)
	today := "; today: request unknown"
	enforced := &a.Enforced
	if a.Today != nil {
		r, _ := of(&a.Today.Amounts)
		today = "; today: request " + text(r)
		enforced = &a.Today.Amounts
	}
	_, l := of(enforced)
	return fmt.Sprintf("%s, limit %s; advised: request %s, limit %s", today, text(l), text(request), text(limit))
}

// Patch is the strategic merge patch with the advice; nil: there is none.
func (a *Advice) Patch() *manifest.Container {
	requests, limits := map[string]any{}, map[string]any{}
	for _, amount := range []struct {
		in   map[string]any
		name string
		n    *uint64
		text func(*uint64) string
	}{
		{requests, "cpu", a.Advised.CPURequest, cpu}, {requests, "memory", a.Advised.MemoryRequest, memoryQuantity},
		{limits, "cpu", a.Advised.CPULimit, cpu}, {limits, "memory", a.Advised.MemoryLimit, memoryQuantity},
	} {
		if amount.n != nil {
			amount.in[amount.name] = amount.text(amount.n)
		}
	}
	of := map[string]any{}
	if len(requests) > 0 {
		of["requests"] = requests
	}
	if len(limits) > 0 {
		of["limits"] = limits
	}
	if len(of) == 0 {
		return nil
	}
	return &manifest.Container{Name: a.Container, Init: a.Today != nil && a.Today.Init,
		Fields: map[string]any{"resources": of}}
}

// roundCPU rounds up: above 100m to tens.
func roundCPU(millis uint64) uint64 {
	if millis <= 100 {
		return millis
	}
	return (millis + 9) / 10 * 10
}

// roundMemory rounds up to whole Mi, above 1Gi to 16Mi.
func roundMemory(bytes uint64) uint64 {
	unit := uint64(mebibyte)
	if bytes > 1024*mebibyte {
		unit = 16 * mebibyte
	}
	return (bytes + unit - 1) / unit * unit
}

// cpu is a quantity of CPU; "none" where it is absent.
func cpu(millis *uint64) string {
	switch {
	case millis == nil:
		return "none"
	case *millis > 0 && *millis%1000 == 0:
		return fmt.Sprint(*millis / 1000)
	}
	return fmt.Sprintf("%dm", *millis)
}

// memory is an amount of memory for people; "none" where it is absent.
func memory(bytes *uint64) string {
	if bytes == nil {
		return "none"
	}
	return string(event.AppendBytes(nil, *bytes))
}

// memoryQuantity is a quantity of memory, which is rounded to Mi.
func memoryQuantity(bytes *uint64) string { return fmt.Sprintf("%dMi", *bytes/mebibyte) }
