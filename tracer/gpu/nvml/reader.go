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
	// patience is how long a call may take.
	patience = 5 * time.Second
	// pulse is how often an empty event says that the process lives.
	pulse = 500 * time.Millisecond
)

// Emit takes one event; nil says that those before are to be passed on, and wait for no more. It is called from one
// goroutine at a time. Its error ends the reader.
type Emit func(*event.Event) error

// Reader reads all GPUs of the machine. It names no pods and no commands: those are its caller's to add.
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

// Run reads at each interval until ctx ends, and gives back all that the library was asked for. path is the library's.
//
// Each look emits, device by device, the processes on it and then the device itself. Empty events say that the process
// lives.
//
// timings, if not nil, gets how long the library took.
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
	// A call that does not return must not keep the process: it ends without it.
	select {
	case err = <-failed:
	case <-time.After(time.Second):
		err = errors.New("the library did not let go of the GPUs")
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// send emits one event, now.
func (r *Reader) send(g *event.Gpu) error {
	if err := r.queue(g); err != nil {
		return err
	}
	return r.flush()
}

// queue emits one event that may wait for others of the same look: a call that does not return keeps it no longer than
// a pulse.
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

// pulse says now and then that the process lives, and ends it where a call of the library does not return.
func (r *Reader) pulse(ctx context.Context, end context.CancelCauseFunc) {
	tick := time.NewTicker(pulse)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if name := r.lib.stuck(patience); name != "" {
			end(fmt.Errorf("the driver did not return from %s for %v", name, patience))
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
	defer r.lib.do("nvmlShutdown", r.lib.Shutdown)
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
		if err := r.look(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look reads every device once.
func (r *Reader) look() error {
	count := 0
	if ret := r.lib.do("nvmlDeviceGetCount", func() (ret nvml.Return) {
		count, ret = r.lib.DeviceGetCount()
		return ret
	}); ret != nvml.SUCCESS {
		return fmt.Errorf("the driver does not tell how many GPUs there are: %s", words(ret))
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
		if err := r.lookAt(i, period); err != nil {
			return err
		}
	}
	return r.flush()
}

// lookAt reads the GPU of an index, and its MIG devices.
func (r *Reader) lookAt(index int, period uint64) error {
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
	return r.lookAtMIG(known, period)
}

// lookAtMIG reads the MIG devices of a GPU, which come and go.
func (r *Reader) lookAtMIG(gpu *device, period uint64) error {
	var g gaps
	most := get(r.lib, &g, "mig", "nvmlDeviceGetMaxMigDeviceCount", gpu.handle.GetMaxMigDeviceCount)
	if most == nil {
		return nil
	}
	for i := range *most {
		handle := get(r.lib, &g, "mig", "nvmlDeviceGetMigDeviceHandleByIndex",
			func() (nvml.Device, nvml.Return) { return gpu.handle.GetMigDeviceHandleByIndex(i) })
		if handle == nil {
			continue // there is none of this number, or it is just being made or taken down
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

// report reads a device and emits what it found. split: its processes are those of its MIG devices.
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
		g.say("processes", "of its MIG devices, see there")
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

// gone reports that a device does not answer, once until it does again.
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
