package model

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// The amounts of a GPU: how long something worked, ns, or what it did, and for how long, ns, that was known.
const (
	gpuBusy = iota
	gpuSeen
	smBusy
	smSeen
	tensorBusy
	tensorSeen
	dramBusy
	dramSeen
	memoryHeld // KiB for so many ms
	memorySeen
	powerDrawn // mW for so many ms
	powerSeen
	pcieSent // bytes
	pcieSentSeen
	pcieReceived
	pcieReceivedSeen
	nvlinkSent
	nvlinkSentSeen
	nvlinkReceived
	nvlinkReceivedSeen
	// Those of a process.
	launched
	launchedSeen
	copied // bytes
	copiedSeen
	synced // ns
	syncedSeen
	gpuAmountCount
)

// By what amounts over the time that they are known for become what charts show.
const (
	kibMsPerNs  = 1024 * 1e6 // bytes
	wattMsPerNs = 1e6 / 1000 // W
	perNs       = 1e9        // a second
)

// Texts in place of a pod, for GPUs that no pod or several pods use.
const (
	freeGPU   = "(free)"
	sharedGPU = "(several)"
	othersGPU = "(others)"
)

func gpuTopic() *Topic {
	process := &Group{
		Name: "process", Doc: "a process on GPUs", dims: []dim{dimNode, dimProcess}, class: classProcess,
		inner: nothing,
		Columns: []string{
			"name", "pod", "pid", "comm", "gpuPercent", "memoryUsedBytes", "launchesPerSecond", "copiedBytesPerSecond",
			"syncPercent",
		},
		lines: []Line{
			{Name: "launches", Type: event.Count, measure: launched, known: launchedSeen, scale: perNs},
			{Name: "copied", Type: event.Bytes, measure: copied, known: copiedSeen, scale: perNs},
			{Name: "in sync", Type: event.Rate, Unit: " threads", measure: synced, known: syncedSeen, scale: 1},
			gpuLine("busy", gpuBusy),
		},
	}
	return &Topic{
		Name: "gpu", Sources: []string{"gpu"}, Row: event.KindByName("gpuTop"), Sort: "gpuPercent",
		Groups: groups(&Group{Name: "gpu", Doc: "a GPU or MIG device", dims: []dim{dimNode, dimName}, inner: "process"},
			&Group{Name: "model", Doc: "all GPUs of a model", dims: []dim{dimType}}, process),
		Into: []string{"namespace", "workload", "pod", "gpu", "process"},
		Lines: []Line{
			gpuLine("busy", gpuBusy), gpuLine("SM", smBusy), gpuLine("tensor", tensorBusy), gpuLine("DRAM", dramBusy),
			{
				Name: "memory", Type: event.Bytes, Unit: " used", measure: memoryHeld, known: memorySeen,
				scale: kibMsPerNs,
			},
			{Name: "power", Type: event.Rate, Unit: " W", measure: powerDrawn, known: powerSeen, scale: wattMsPerNs},
			{Name: "PCIe out", Type: event.Bytes, measure: pcieSent, known: pcieSentSeen, scale: perNs},
			{Name: "PCIe in", Type: event.Bytes, measure: pcieReceived, known: pcieReceivedSeen, scale: perNs},
			{Name: "NVLink out", Type: event.Bytes, measure: nvlinkSent, known: nvlinkSentSeen, scale: perNs},
			{Name: "NVLink in", Type: event.Bytes, measure: nvlinkReceived, known: nvlinkReceivedSeen, scale: perNs},
		},
		spec: topicSpec{
			amounts: gpuAmountCount, own: gpuAmountCount, flip: unflipped, doubled: -1, add: addGPU, fill: fillGPU,
		},
	}
}

// maxPods bounds the pods whose workloads are known, from events of their processes.
const maxPods = 1 << 14

// gpuLine is how many GPUs' worth of something worked.
func gpuLine(name string, measure int) Line {
	return Line{Name: name, Type: event.Rate, Unit: " GPUs", measure: measure, known: measure + 1}
}

// gauge is the last sample of a GPU.
type gauge struct {
	event *event.Gpu
	// split: it is counted by its MIG devices.
	split bool
	// idle is when the GPU became held and idle, ns; 0: it is not.
	idle int64
}

func addGPU(s *store, ev *event.Event, now int64) bool {
	g := ev.GetGpu()
	if g.GetType() == event.GpuEventType_GPU_EVENT_TYPE_CALLS {
		addCalls(s, ev, now)
		return true
	}
	uuid := g.GetGpu().GetUuid()
	if uuid == "" {
		return false
	}
	id := ev.GetNode() + " " + uuid
	switch g.GetType() {
	case event.GpuEventType_GPU_EVENT_TYPE_PROCESS:
		if ev.GetPod() != "" && len(s.workloads) < maxPods {
			s.workloads[ev.GetNamespace()+"/"+ev.GetPod()] = ev.GetWorkload()
		}
		addProcess(s, ev, now)
		return true
	case event.GpuEventType_GPU_EVENT_TYPE_ENDED:
		endProcess(s, ev)
		return true
	case event.GpuEventType_GPU_EVENT_TYPE_LOST:
		if l := s.series[id]; l != nil {
			l.live = false
		}
		return true
	case event.GpuEventType_GPU_EVENT_TYPE_DEVICE:
	default:
		return false
	}
	if parent := g.GetGpu().GetParent(); parent != "" {
		if p := s.series[ev.GetNode()+" "+parent]; p != nil {
			p.gauge.split = true
		}
	}
	l, made := s.seriesByID(id)
	if made {
		l.gauge = &gauge{}
	}
	l.live = true
	l.gauge.take(g, now)
	l.pair = s.endpointPair(gpuIdentity(ev, l.gauge, s.workloads), nobody)
	l.add(now, s.spec.amounts, gpuAmounts(g))
	return true
}

// take keeps the event of a sample.
func (k *gauge) take(g *event.Gpu, now int64) {
	k.event = proto.CloneOf(g) // the event is the caller's
	switch {
	case !g.HeldIdle():
		k.idle = 0
	case k.idle == 0:
		k.idle = now
	}
}

// gpuAmounts are how long the device worked, and what it did, in the period that an event is of.
func gpuAmounts(g *event.Gpu) (amounts [maxAmounts]uint64) {
	period := g.GetPeriodMicros() * 1000
	if period == 0 {
		return amounts
	}
	ns := float64(period)
	set := func(at int, n float64) { amounts[at], amounts[at+1] = uint64(n), period }
	if a := g.GetActivity(); a != nil {
		if a.GpuPercent != nil {
			set(gpuBusy, float64(a.GetGpuPercent())*ns/100)
		}
		percent := func(at int, n *float64) {
			if n != nil {
				set(at, *n*ns/100)
			}
		}
		percent(smBusy, a.SmPercent)
		percent(tensorBusy, a.TensorPercent)
		percent(dramBusy, a.DramPercent)
		rate := func(at int, n *uint64) {
			if n != nil {
				set(at, float64(*n)*ns/1e9)
			}
		}
		rate(pcieSent, a.PcieSentPerSecond)
		rate(pcieReceived, a.PcieReceivedPerSecond)
		rate(nvlinkSent, a.NvlinkSentPerSecond)
		rate(nvlinkReceived, a.NvlinkReceivedPerSecond)
	}
	if m := g.GetMemory(); m != nil && m.UsedBytes != nil {
		set(memoryHeld, float64(m.GetUsedBytes())*ns/kibMsPerNs)
	}
	if h := g.GetHealth(); h != nil && h.PowerMilliwatts != nil {
		set(powerDrawn, float64(h.GetPowerMilliwatts())*ns/1e6)
	}
	return amounts
}

// gpuIdentity returns the identity of a GPU: of its pod, where only one uses it.
func gpuIdentity(ev *event.Event, k *gauge, workloads map[string]string) identity {
	id := identity{dims: [2]dimensions{noDimensions(), noDimensions()}, sides: 1}
	d := k.event.GetGpu()
	namespace, pod, container, workload := "", freeGPU, "", freeGPU
	switch users := strings.Split(k.event.GetUsedBy(), ","); {
	case len(users) > 1:
		pod, workload = sharedGPU, sharedGPU
	case users[0] != "":
		if parts := strings.SplitN(users[0], "/", 3); len(parts) == 3 {
			namespace, pod, container = parts[0], parts[1], parts[2]
			workload = workloads[namespace+"/"+pod]
		}
	case k.event.Processes == nil || k.event.GetProcesses() > 0:
		pod, workload = othersGPU, othersGPU
	}
	f := &id.dims[0]
	f.self(namespace, pod, container, workload, ev.GetNode(), "")
	f.set(dimName, string(event.AppendGpuName(nil, ev.GetNode(), d)))
	f.set(dimType, d.GetName())
	return id
}

func fillGPU(ev *event.Event, r *sum) {
	k, _ := ev.GetKind().(*event.Event_GpuTop)
	if k == nil {
		k = &event.Event_GpuTop{}
		ev.Kind = k
	}
	t := &event.GpuTop{
		Group: r.group.Name, Name: r.name(), WindowMicros: r.windowMicros(), Workload: r.workload(),
		Model: r.dimensions[dimType].Value(),
	}
	k.GpuTop = t
	share := func(busy int) *float64 {
		if r.amounts[busy+1] <= 0 {
			return nil
		}
		p := min(100*r.amounts[busy]/r.amounts[busy+1], 100)
		return &p
	}
	rate := func(amount int) *float64 {
		if r.amounts[amount+1] <= 0 {
			return nil
		}
		p := r.perSecond(amount)
		return &p
	}
	t.GpuPercent = share(gpuBusy)
	t.LaunchesPerSecond, t.CopiedBytesPerSecond = rate(launched), rate(copied)
	if in := rate(synced); in != nil {
		percent := *in / 1e9 * 100
		t.SyncPercent = &percent
	}
	for _, p := range r.processes {
		if !p.launches {
			t.LaunchesPerSecond = nil // what is known of others is not all
		}
	}
	if r.group.class == classProcess {
		fillProcess(t, r)
		return
	}
	t.SmPercent, t.TensorPercent, t.DramPercent = share(smBusy), share(tensorBusy), share(dramBusy)
	t.PcieSentPerSecond, t.PcieReceivedPerSecond = rate(pcieSent), rate(pcieReceived)
	t.NvlinkSentPerSecond, t.NvlinkReceivedPerSecond = rate(nvlinkSent), rate(nvlinkReceived)
	var users, given, uses, slowed []string
	for _, g := range r.gauges {
		e := g.event
		t.Gpus++
		if len(r.gauges) == 1 {
			t.Uuid = e.GetGpu().GetUuid()
		}
		if g.split && len(r.gauges) > 1 {
			t.Gpus-- // its parts are in the sum
		} else {
			plus(
				&t.MemoryUsedBytes, e.GetMemory().GetUsedBytes(),
				e.GetMemory() != nil && e.GetMemory().UsedBytes != nil,
			)
			plus(
				&t.MemoryTotalBytes, e.GetMemory().GetTotalBytes(),
				e.GetMemory() != nil && e.GetMemory().TotalBytes != nil,
			)
		}
		h := e.GetHealth()
		plus(&t.PowerMilliwatts, uint64(h.GetPowerMilliwatts()), h != nil && h.PowerMilliwatts != nil)
		plus(&t.PowerLimitMilliwatts, uint64(h.GetPowerLimitMilliwatts()), h != nil && h.PowerLimitMilliwatts != nil)
		if h != nil && h.TemperatureCelsius != nil {
			n := max(t.GetTemperatureCelsius(), uint64(h.GetTemperatureCelsius()))
			t.TemperatureCelsius = &n
		}
		plus(&t.Processes, uint64(e.GetProcesses()), e.Processes != nil)
		plus(&t.OwnProcesses, uint64(e.GetOwnProcesses()), e.OwnProcesses != nil)
		if g.idle != 0 {
			n := max(t.GetIdleMicros(), uint64(max(r.window.now-g.idle, 0)/1000))
			t.IdleMicros = &n
		}
		users = append(users, words(e.GetUsedBy())...)
		given = append(given, words(e.GetAllocatedTo())...)
		uses = append(uses, words(e.GetUse().Word())...)
		slowed = append(slowed, words(h.GetThrottle())...)
	}
	t.UsedBy, t.AllocatedTo, t.Uses = list(users), list(given), list(uses)
	t.Throttle = list(slices.DeleteFunc(slowed, func(w string) bool { return w == "none" }))
}

// list joins words with commas, each once.
func list(words []string) string {
	slices.Sort(words)
	return strings.Join(slices.Compact(words), ",")
}

// words splits a list with commas; of an empty one there are none.
func words(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

// plus adds n to a sum if n is known. The sum is nil before the first known n.
func plus(to **uint64, n uint64, known bool) {
	if !known {
		return
	}
	if *to != nil {
		n += **to
	}
	*to = &n
}
