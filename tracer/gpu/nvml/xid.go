//go:build linux && cgo

package nvml

import (
	"context"
	"sync"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// waitMillis limits one wait for an error, ms.
const waitMillis = 500

// xidWatch waits for the driver's errors in its own goroutine, because a wait blocks.
type xidWatch struct {
	r       *Reader
	set     nvml.EventSet
	end     context.CancelFunc
	waiting sync.WaitGroup
}

// watchXIDs starts to wait. If the driver has no such events, it reports nothing.
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

// register adds a device to those whose errors are reported. A device without such events has none.
func (w *xidWatch) register(d *device) {
	if w.set == nil || d.handle == nil {
		return
	}
	_ = w.r.lib.do("nvmlDeviceRegisterEvents",
		func() nvml.Return { return d.handle.RegisterEvents(nvml.EventTypeXidCriticalError, w.set) })
}

func (w *xidWatch) wait(ctx context.Context) {
	for ctx.Err() == nil {
		// Not by do: this wait is no hanging call.
		data, ret := w.set.Wait(waitMillis)
		switch {
		case ret == nvml.ERROR_TIMEOUT:
		case ret != nvml.SUCCESS:
			return // the driver fails; the next sample reports it
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

// close ends the wait.
func (w *xidWatch) close() {
	w.end()
	w.waiting.Wait()
	if w.set != nil {
		_ = w.r.lib.do("nvmlEventSetFree", w.set.Free)
	}
}
