//go:build linux && cgo

package nvml

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/orb8-dev/kubectl-orb8/event"
)

const (
	// callTimeout is how long a call of the library may take.
	callTimeout = 5 * time.Second
	// pulse is the time between two empty events, which are signs of life.
	pulse = 500 * time.Millisecond
)

// Emit receives one event; nil flushes the previous ones. The reader makes one call at a time. An error ends the
// reader.
type Emit func(*event.Event) error

// Reader reads all GPUs of the machine. It does not name pods or commands; its caller adds them.
type Reader struct {
	lib      *library
	interval time.Duration
	driver   string
	last     time.Time

	mu   sync.Mutex
	emit Emit

	devices map[string]*device // by UUID
	byIndex map[int]*device
	events  *xidWatch
}

// Run samples the devices once per interval until ctx ends, and then frees all objects of the library. path is the
// library's absolute path.
//
// Each sample emits, device by device, the processes on it and then the device itself. Empty events are signs of life.
//
// timings, if not nil, records the durations of the library's calls.
func Run(ctx context.Context, path string, interval time.Duration, timings *Timings, emit Emit) error {
	r := &Reader{interval: interval, emit: emit, devices: map[string]*device{}, byIndex: map[int]*device{}}
	lib, err := load(path)
	if err != nil {
		return err
	}
	lib.timings = timings
	r.lib = lib
	ctx, end := context.WithCancelCause(ctx)
	var pulsing sync.WaitGroup
	pulsing.Go(func() { r.pulse(ctx, end) })
	defer pulsing.Wait()
	defer end(nil)

	failed := make(chan error, 1)
	go func() { failed <- r.read(ctx) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	// A hanging call must not keep the process: it ends without waiting longer.
	select {
	case err = <-failed:
	case <-time.After(time.Second):
		err = errors.New("the library did not release the GPUs")
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// send emits one event and flushes.
func (r *Reader) send(g *event.Gpu) error {
	if err := r.queue(g); err != nil {
		return err
	}
	return r.flush()
}

// queue emits one event that may wait for others of the same sample, but no longer than a pulse.
func (r *Reader) queue(g *event.Gpu) error {
	ev := &event.Event{Time: uint64(time.Now().UnixNano())}
	if g != nil {
		ev.Kind = &event.Event_Gpu{Gpu: g}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.emit(ev)
}

func (r *Reader) flush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.emit(nil)
}

// pulse emits signs of life, and ends the reader when a call of the library hangs.
func (r *Reader) pulse(ctx context.Context, end context.CancelCauseFunc) {
	tick := time.NewTicker(pulse)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if name := r.lib.stuck(callTimeout); name != "" {
			end(fmt.Errorf("the driver did not return from %s for %v", name, callTimeout))
			return
		}
		if err := r.send(nil); err != nil {
			end(err)
			return
		}
	}
}

func (r *Reader) read(ctx context.Context) error {
	if ret := r.lib.do("nvmlInit", r.lib.Init); ret != nvml.SUCCESS {
		return fmt.Errorf("the driver cannot be used: %s", words(ret))
	}
	defer func() { _ = r.lib.do("nvmlShutdown", r.lib.Shutdown) }()
	defer r.closeAll()
	var g gaps
	if v := get(r.lib, &g, "driver", "nvmlSystemGetDriverVersion", r.lib.SystemGetDriverVersion); v != nil {
		r.driver = valid(*v)
	}
	r.events = r.watchXIDs(ctx)
	defer r.events.close()
	tick := time.NewTicker(r.interval)
	defer tick.Stop()
	for {
		if err := r.sample(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// sample reads every device once.
func (r *Reader) sample() error {
	count := 0
	if ret := r.lib.do("nvmlDeviceGetCount", func() (ret nvml.Return) {
		count, ret = r.lib.DeviceGetCount()
		return ret
	}); ret != nvml.SUCCESS {
		return fmt.Errorf("the driver does not report the number of GPUs: %s", words(ret))
	}
	now := time.Now()
	period := uint64(0)
	if !r.last.IsZero() {
		period = uint64(now.Sub(r.last).Microseconds())
	}
	r.last = now
	if count == 0 {
		return r.send(&event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_UNAVAILABLE,
			Message: "the driver of this node knows no GPU"})
	}
	for i := range count {
		if err := r.sampleGPU(i, period); err != nil {
			return err
		}
	}
	return r.flush()
}

// sampleGPU reads the GPU with an index, and its MIG devices.
func (r *Reader) sampleGPU(index int, period uint64) error {
	var handle nvml.Device
	ret := r.lib.do("nvmlDeviceGetHandleByIndex", func() (ret nvml.Return) {
		handle, ret = r.lib.DeviceGetHandleByIndex(index)
		return ret
	})
	known := r.byIndex[index]
	if ret != nvml.SUCCESS {
		return r.gone(known, index, ret)
	}
	if known == nil || known.handle != handle {
		d, ret := r.identify(handle, index, nil)
		if d == nil {
			return r.gone(known, index, ret)
		}
		if same := r.devices[d.id.Uuid]; same != nil {
			r.close(same)
		}
		r.devices[d.id.Uuid], r.byIndex[index] = d, d
		r.events.register(d)
		known = d
	}
	var g gaps
	current := get(r.lib, &g, "mig", "nvmlDeviceGetMigMode", func() (int, nvml.Return) {
		current, _, ret := handle.GetMigMode()
		return current, ret
	})
	if g.lost != nvml.SUCCESS {
		return r.gone(known, index, g.lost)
	}
	mig := current != nil && *current == nvml.DEVICE_MIG_ENABLE
	if err := r.report(known, period, mig); err != nil || !mig {
		return err
	}
	return r.sampleMIG(known, period)
}

// sampleMIG reads the MIG devices of a GPU, which may be created and destroyed at any time.
func (r *Reader) sampleMIG(gpu *device, period uint64) error {
	var g gaps
	most := get(r.lib, &g, "mig", "nvmlDeviceGetMaxMigDeviceCount", gpu.handle.GetMaxMigDeviceCount)
	if most == nil {
		return nil
	}
	for i := range *most {
		handle := get(r.lib, &g, "mig", "nvmlDeviceGetMigDeviceHandleByIndex",
			func() (nvml.Device, nvml.Return) { return gpu.handle.GetMigDeviceHandleByIndex(i) })
		if handle == nil {
			continue // none has this index, or it is being created or destroyed
		}
		d, _ := r.identify(*handle, i, gpu)
		if d == nil {
			continue
		}
		if known := r.devices[d.id.Uuid]; known != nil {
			known.handle, known.parent = d.handle, gpu
			d = known
		} else {
			d.id.PlacementStart = r.placement(d)
			r.devices[d.id.Uuid] = d
		}
		if err := r.report(d, period, false); err != nil {
			return err
		}
	}
	return nil
}

// report reads a device and emits its events. split: its processes are reported with its MIG devices.
func (r *Reader) report(d *device, period uint64, split bool) error {
	var g gaps
	ev := &event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_DEVICE, Gpu: d.id}
	if period > 0 {
		ev.PeriodMicros = &period
	}
	ev.Memory = r.memory(d, &g)
	ev.Activity = r.activity(d, &g)
	ev.Health = r.health(d, &g)
	var list []*event.GpuProcess
	if split {
		g.addReason("processes", "of its MIG devices, see there")
	} else {
		var ok bool
		if list, ok = r.processes(d, &g); ok {
			n := uint32(len(list))
			ev.Processes = &n
		}
	}
	if g.lost != nvml.SUCCESS {
		return r.gone(d, int(d.id.GetIndex()), g.lost)
	}
	d.lost = false
	for _, p := range list {
		if err := r.queue(&event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_PROCESS, Gpu: d.id, Proc: p,
			PeriodMicros: ev.PeriodMicros}); err != nil {
			return err
		}
	}
	ev.Unavailable = g.String()
	return r.queue(ev)
}

// gone reports that a device does not answer, once until its next successful sample.
func (r *Reader) gone(d *device, index int, ret nvml.Return) error {
	if d == nil {
		n := uint32(index)
		d = &device{id: &event.GpuDevice{Index: &n, Driver: r.driver}}
		r.byIndex[index] = d
	}
	if d.lost {
		return nil
	}
	d.lost = true
	return r.send(&event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_LOST, Gpu: d.id, Message: words(ret)})
}

func (r *Reader) closeAll() {
	for _, d := range r.devices {
		r.close(d)
	}
}
