package why

// signalVector is the signals of one pod's part in a device, around one slot. NaN is not known.
type signalVector [signalCount]float64

func unknownVector() (v signalVector) {
	for i := range v {
		v[i] = nan
	}
	return v
}

// usable reports whether enough is known to divide the time: whether the GPU was busy.
func (v *signalVector) usable() bool { return known(v[sigBusy]) }

// measure fills in the vectors of all slots that were seen.
func (s *podDevice) measure() {
	s.vectors = make([]signalVector, s.clock.Seen())
	for slot := range s.vectors {
		s.vectors[slot] = s.vector(slot)
	}
}

// vector derives the signals around a slot.
func (s *podDevice) vector(slot int) signalVector {
	v := unknownVector()
	busy, measured := s.busy(slot, reach)
	if !known(busy) {
		return v
	}
	d := &s.device.series
	launches, syncs := s.calls(rowLaunches, slot, reach), s.calls(rowSyncs, slot, reach)
	full := min(d.Around(rowSM, slot, reach)/goodFill, 1)
	if measured && known(full) && !s.several && launches < quietLaunches && syncs < rareSyncs {
		// Nothing but good kernels runs. GPM covers all the time, utilisation the driver's last sample only.
		busy = (busy + full) / 2
	}
	v[sigBusy], v[sigIdle] = busy, 1-busy
	v[sigShared], v[sigSeveral] = boolSignal(s.shared), boolSignal(s.several)
	v[sigHidden] = boolSignal(!measured && !s.shared)
	if measured {
		v[sigMeasured] = 1
	}
	if known(launches) || known(syncs) {
		v[sigCounted] = 1
	}
	if s.gpm {
		v[sigGPM] = 1
	}
	v[sigSync] = s.calls(rowSync, slot, reach)
	cores := s.pod.sum(rowCPU, slot, reach)
	s.addWork(&v, slot, launches, syncs, cores)
	s.addGaps(&v, cores)
	s.addMemory(&v, slot)
	v[sigThrottled] = s.throttled(slot)
	s.addCopies(&v, slot)
	s.addLoading(&v, cores, slot)
	return v
}

// addWork derives small kernels, and how much of the busy time is work. The two depend on each other.
func (s *podDevice) addWork(v *signalVector, slot int, launches, syncs, cores float64) {
	busy, measured, counted := v[sigBusy], known(v[sigMeasured]), known(v[sigCounted])
	small := 0.0
	if counted {
		if launches > 0 {
			// With a sample period of a sixth of a second, few samples are not representative.
			long, _ := s.busy(slot, 3*reach)
			each := max(busy, or(long, 0)) * 1e6 / launches
			small = max(
				ramp(each, largeKernel, smallKernel),
				ramp(or(syncs, 0), rareSyncs, manySyncs)*ramp(each, largeSynced, smallSynced),
			)
		}
		v[sigSmall] = small
	}
	work := s.work(busy, measured, small, slot)
	underused := (busy - work) / max(busy, minShare)
	if !s.several && small < 1 && counted && launches > 0 && measured && s.gpm {
		// SMs have little to do and the host does not wait for them: the GPU waits for the host.
		lag := ramp(underused, lagUnderusedLow, lagUnderusedHigh) *
			ramp(or(v[sigSync], 0)/max(busy, minShare), lagSyncMost, lagSyncLeast) *
			ramp(busy*1e6/launches, largeLagging, smallLagging)
		if lag > small {
			v[sigSmall] = lag
			work = s.work(busy, measured, lag, slot)
		}
	}
	if !counted && known(cores) && measured {
		// Calls are not counted: a busy main thread, gaps, and kernels that use little show small kernels.
		v[sigSmall] = ramp(cores/float64(s.devices), hostCPULow, hostCPUHigh) *
			ramp(v[sigIdle], hostIdleLow, hostIdleHigh) * ramp(underused, hostUnderusedLow, hostUnderusedHigh)
		if s.several {
			v[sigSmall] *= severalDoubt
		}
		work = s.work(busy, measured, v[sigSmall], slot)
	}
	v[sigWork], v[sigUnderused] = work, busy-work
}

// work is the share of the time in which SMs were used well.
func (s *podDevice) work(busy float64, measured bool, small float64, slot int) float64 {
	d := &s.device.series
	if sm := d.Around(rowSM, slot, reach); known(sm) {
		// A little activity is that of small kernels and of those that spin.
		fill := spinFill + (smallFill-spinFill)*small
		work := max(sm-fill*busy, 0) / (goodFill - fill)
		work = min(max(work, ramp(or(d.Around(rowDRAM, slot, reach), 0), dramNoWork, dramWork)), busy)
		if !measured {
			work *= 1 - small
		}
		return work
	}
	// Before Hopper, power and memory show kernels that work. Small kernels show less in both.
	if busy < minShare {
		return busy
	}
	power, good, dense, drawn := nan, nan, 0.0, 0.0
	if p := d.Around(rowPower, slot, reach); known(p) {
		power = ramp((p-drawnIdle*(1-busy))/busy, powerLow, powerHigh)
		drawn = ramp(p, drawnLow, drawnHigh)
	}
	if x := d.Around(rowMem, slot, reach); known(x) {
		good = ramp(x/busy, memoryLow, memoryHigh)
		dense = ramp(x/busy, memoryDenseLow, memoryDenseHigh)
	}
	if !known(power) && !known(good) {
		return busy * (1 - small)
	}
	both := (or(power, good) + or(good, power)) / 2
	// Beside small kernels, clocks are up also while nothing runs: only the power over all time counts then, or memory
	// that is busy.
	return small*max(min(drawn, busy), busy*dense) + (1-small)*busy*both
}

// addGaps derives the idle time that small kernels leave.
func (s *podDevice) addGaps(v *signalVector, cores float64) {
	v[sigGaps], v[sigMostGaps] = 0, 0
	if idle := v[sigIdle]; idle > 0 {
		// A thread that launches, or waits for each answer, keeps a CPU busy or is in synchronisation: there are no
		// more gaps than such time.
		host := or(cores/float64(s.devices), 1) + or(v[sigSync], 0) + hostMargin
		most := min(idle, max(host-v[sigUnderused], 0))
		v[sigGaps] = min(gapRatio*v[sigUnderused]*or(v[sigSmall], 0), most) / idle
		v[sigMostGaps] = min(maxGapRatio*v[sigUnderused]*or(v[sigSmall], 0), most) / idle
	}
	switch {
	case !known(v[sigCounted]):
		v[sigMostGaps] = v[sigGaps]
	case !known(v[sigMeasured]):
		v[sigGaps], v[sigMostGaps] = partlyMeasured*v[sigSmall], v[sigSmall]
	}
}

// addMemory derives how busy memory and tensor cores are while the device works.
func (s *podDevice) addMemory(v *signalVector, slot int) {
	d := &s.device.series
	dram, mem := d.Around(rowDRAM, slot, reach), d.Around(rowMem, slot, reach)
	switch {
	case known(dram):
		v[sigDRAM] = min(dram/max(v[sigWork], minShare), 1)
	case known(mem):
		// Memory is read or written a larger part of the time than its bandwidth is used.
		v[sigDRAM] = min(mem/max(v[sigBusy], minShare), 1)
	}
	if tensor := d.Around(rowTensor, slot, reach); known(tensor) {
		v[sigTensor] = min(tensor/max(v[sigWork], minShare), 1)
	}
}

// addCopies derives the signals of copies.
func (s *podDevice) addCopies(v *signalVector, slot int) {
	d := &s.device.series
	idle := v[sigIdle]
	bytes := total(
		s.calls(rowHostToDevice, slot, reach), s.calls(rowDeviceToHost, slot, reach),
		s.calls(rowOtherBytes, slot, reach),
	)
	v[sigBus] = total(d.Around(rowReceived, slot, reach), d.Around(rowSent, slot, reach))
	if s.shared || !known(v[sigBus]) {
		v[sigBus] = bytes
	}
	link := float64(linkNoGPM)
	if s.gpm {
		link = linkGPM
	}
	copying := nan
	if c := s.calls(rowCopy, slot, reach); known(c) {
		copying = most(c, or(bytes, 0)/link)
		if or(bytes, 0) < fewCopied {
			copying = 0
		}
	} else if known(v[sigBus]) {
		// How long copies took is not known. Copies of pageable memory are slow.
		copying = v[sigBus] / link
		if slow := v[sigBus] / linkPageable; slow < pageableIdle*idle+pageableMargin {
			copying = slow * ramp(v[sigBus], someCopies, manyCopies)
		}
	}
	if known(copying) {
		v[sigCopyTime] = min(copying, idle) / max(idle, minCopyIdle)
	}
}

// addLoading derives what the pod does beside its GPUs.
func (s *podDevice) addLoading(v *signalVector, cores float64, slot int) {
	p, devices := s.pod, float64(s.devices)
	v[sigCPUHeld], v[sigCPUPressure] = p.most(rowCPUThrottled, slot, reach), p.most(rowPSICPU, slot, reach)
	idle := v[sigIdle] * (1 - or(v[sigCopyTime], 0))
	extra := nan // CPUs of the pod beyond the main threads, for each GPU
	if known(cores) {
		// A thread that launches small kernels has no rest while the GPU is idle.
		extra = max(cores/devices-max(1-idle, or(v[sigSmall], 0)), 0)
		if !known(v[sigMeasured]) && s.several {
			extra = max(cores/devices-1, 0) // the main thread may wait for kernels that are not visible
		}
	}
	if s.clock.Seen() > 0 && s.w.flowsTraced {
		v[sigReceived] = s.clock.Rate(&p.series, rowNet, slot, reach)
	}
	if known(extra) {
		if extra > perCoreIdle*idle {
			v[sigPerCore] = v[sigReceived] / (extra * devices)
		}
		extra = max(extra-or(v[sigReceived], 0)/fetching/devices, 0)
		v[sigLoaders] = extra / max(idle, minIdle)
	}
	reading := p.sum(rowInFlight, slot, reach) / devices
	if io := p.most(rowPSIIO, slot, reach); known(io) {
		v[sigStalled] = io
		v[sigIOPressure] = min(io/max(idle, minIdle), 1)
	} else if reading > someReads {
		// Without PSI, file systems that are no block devices are not visible.
		v[sigIOPressure] = min(reading/max(idle, minIdle), 1)
	}
	switch {
	case !known(extra):
	case reading > fewReads:
		v[sigOfLoaders] = extra / (extra + reading)
	case v[sigIOPressure] > 0:
		// How many loaders wait for devices is not known. The others may compute for them: reading takes CPU time too.
		v[sigOfLoaders] = 1 - mostOfLoaders*ramp(v[sigIOPressure], loaderIOLow, loaderIOHigh)
	}
}
