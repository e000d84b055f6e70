//go:build linux && cgo

package nvml

import (
	"context"
	"sync"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// waitMillis is how long one wait for an error lasts.
const waitMillis = 500

// xidWatch waits for the driver's errors, in a goroutine of its own: a wait blocks, and what reads the devices must
// not.
type xidWatch struct {
	r       *Reader
	set     nvml.EventSet
	end     context.CancelFunc
	waiting sync.WaitGroup
}

// watchXIDs begins to wait; where the driver has no such events, nothing is ever reported.
func (r *Reader) watchXIDs(ctx context.Context) *xidWatch {
	var g gaps
	w := &xidWatch{r: r, end: func() {}}
	set := get(r.lib, &g, "xid", "nvmlEventSetCreate", r.lib.EventSetCreate)
	if set == nil || !r.lib.supports("nvmlEventSetWait") {
		return w
	}
	w.set = *set
	ctx, w.end = context.WithCancel(ctx)
	w.waiting.Go(func() { w.wait(ctx) })
	return w
}

// register adds a device to those whose errors are told.
func (w *xidWatch) register(d *device) {
	if w.set == nil || d.handle == nil {
		return
	}
	w.r.lib.do("nvmlDeviceRegisterEvents",
		func() nvml.Return { return d.handle.RegisterEvents(nvml.EventTypeXidCriticalError, w.set) })
}

func (w *xidWatch) wait(ctx context.Context) {
	for ctx.Err() == nil {
		// Not by do: it may wait, and is not what keeps the others.
		data, ret := w.set.Wait(waitMillis)
		switch {
		case ret == nvml.ERROR_TIMEOUT:
		case ret != nvml.SUCCESS:
			return // the driver is going, which what reads the devices will see
		case data.EventType == nvml.EventTypeXidCriticalError:
			if w.report(data) != nil {
				return
			}
		}
	}
}

func (w *xidWatch) report(data nvml.EventData) error {
	g := &event.Gpu{Type: event.GpuEventType_GPU_EVENT_TYPE_XID, Message: xidWords(data.EventData)}
	if data.EventData <= 1<<20 {
		n := uint32(data.EventData)
		g.Xid = &n
	}
	if uuid, ret := data.Device.GetUUID(); ret == nvml.SUCCESS {
		g.Gpu = &event.GpuDevice{Uuid: valid(uuid), Driver: w.r.driver}
		if data.GpuInstanceId != notAMIG {
			g.Gpu.GpuInstance = &data.GpuInstanceId
		}
		if w.r.lib.supports("nvmlDeviceGetIndex") {
			if index, ret := data.Device.GetIndex(); ret == nvml.SUCCESS && index >= 0 {
				n := uint32(index)
				g.Gpu.Index = &n
			}
		}
	}
	return w.r.send(g)
}

// close ends the waiting.
func (w *xidWatch) close() {
	w.end()
	w.waiting.Wait()
	if w.set != nil {
		w.r.lib.do("nvmlEventSetFree", w.set.Free)
	}
}
