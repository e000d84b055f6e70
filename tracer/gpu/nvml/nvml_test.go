//go:build linux && cgo

package nvml

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/fakes"
	"github.com/orb8-dev/kubectl-orb8/event"
)

// processDir is a directory for the whole test process.
var processDir string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	var err error
	if processDir, err = os.MkdirTemp("", "orb8-nvml-*"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := os.RemoveAll(processDir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// inProcessDir is a TB whose files outlive its test.
type inProcessDir struct{ testing.TB }

func (inProcessDir) TempDir() string { return processDir }

var builtDriver *fakes.NVML

// fakeDriver returns the fake library of this process. There can be only one: NVML's symbols stay bound to the first
// library that a process loads, so a later one would be read for nothing.
func fakeDriver(tb testing.TB) *fakes.NVML {
	tb.Helper()
	if builtDriver == nil {
		builtDriver = fakes.BuildNVML(inProcessDir{tb})
	}
	return builtDriver
}

// TestReader_FakeDriver reads a library with NVML's symbols through the real loader. The end-to-end tests cover the
// rest in pods.
func TestReader_FakeDriver(t *testing.T) {
	driver := fakeDriver(t)
	t.Run("values", func(t *testing.T) { readValues(t, driver) })
	t.Run("link counters without GPM", func(t *testing.T) { readLinksByCounters(t, driver) })
}

func readValues(t *testing.T, driver *fakes.NVML) {
	driver.Script(t, "node",
		"devices 2", "driver 1.2", "0.uuid GPU-0", "0.pci 00000000:AB:00.0", "0.memory 1000 400 100", "0.util 7 101",
		"0.throttle 0x8000000000000024", "0.power 4294967295",
		"0.gpm 1", "0.gpm.2 100.4", "0.gpm.3 nan", "0.gpm.5 -1", "0.gpm.10 250", "0.gpm.20 1.5", "0.clock.sm 1200",
		"0.clock.max 1980", "0.retired.single 3", "0.retired.double 1",
		"0.compute 10:5 11 12:18446744073709551615", "0.graphics 10:7", "0.utilization 10:20:1 10:40:3 11:200:0",
		"1.handle !15")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var devices, processes, lost []*event.Gpu
	var timings Timings
	err := Run(ctx, driver.Library, 50*time.Millisecond, &timings, func(ev *event.Event) error {
		switch g := ev.GetGpu(); g.GetType() {
		case event.GpuEventType_GPU_EVENT_TYPE_DEVICE:
			if devices = append(devices, g); len(devices) == 2 {
				cancel()
			}
		case event.GpuEventType_GPU_EVENT_TYPE_PROCESS:
			processes = append(processes, g)
		case event.GpuEventType_GPU_EVENT_TYPE_LOST:
			lost = append(lost, g)
		case event.GpuEventType_GPU_EVENT_TYPE_UNKNOWN: // a pulse, or the end of a sample
		default:
			t.Errorf("%v", g)
		}
		return nil
	})
	if err != nil || len(devices) < 2 || len(lost) != 1 {
		t.Fatalf("%v; %d devices, %d lost", err, len(devices), len(lost))
	}
	// There are two samples or more, because one may start before the reader sees the end. Each gets one of two
	// devices.
	for function, failed := range map[string]int{"nvmlInit": 0, "nvmlDeviceGetHandleByIndex": 2} {
		all := timings.All()
		i := slices.IndexFunc(all, func(x Timing) bool { return x.Function == function })
		if i < 0 || all[i].Calls < 1 || all[i].Failed < failed || all[i].Failed != all[i].Calls/2 ||
			all[i].Max <= 0 || all[i].Median > all[i].Max {
			t.Errorf("%s was called, and the timings are %+v", function, all)
		}
	}
	if d := devices[0]; d.PeriodMicros != nil || d.GetActivity().SmPercent != nil ||
		!strings.Contains(d.GetUnavailable(), "the first period is not over: gpm") {
		t.Errorf("at first: %v", d)
	}
	d := devices[1]
	a, h := d.GetActivity(), d.GetHealth()
	if d.GetGpu().GetPciAddress() != "00000000:ab:00.0" || d.GetMemory().GetUsedBytes() != 400 ||
		a.GetGpuPercent() != 7 || a.MemoryPercent != nil ||
		a.GetSmPercent() != 100 || a.OccupancyPercent != nil || a.TensorPercent != nil || a.DramPercent != nil ||
		a.Fp32Percent != nil ||
		a.GetPcieSentPerSecond() != 3<<19 || h.PowerMilliwatts != nil ||
		h.GetThrottle() != "power-cap,sw-thermal,0x8000000000000000" ||
		h.GetRetiredPages() != 4 || h.GetSmMhz() != 1200 || h.GetMaxSmMhz() != 1980 || h.RemappedRows != nil ||
		h.TemperatureCelsius != nil || d.GetProcesses() != 3 {
		t.Errorf("%v", d)
	}
	for _, want := range []string{"the driver says 4294967295, which cannot be: power",
		"the driver says 250, which cannot be: dramPercent", "not supported: ",
		"the driver says more than 100: proc.smPercent"} {
		if !strings.Contains(d.GetUnavailable(), want) {
			t.Errorf("%q lacks %q", d.GetUnavailable(), want)
		}
	}
	if len(processes) < 3 {
		t.Fatalf("%d processes", len(processes))
	}
	if p := processes[0].GetProc(); p.GetPid() != 10 || p.GetType() != "compute+graphics" || p.GetMemoryBytes() != 7 ||
		p.GetSmPercent() != 30 || p.GetMemoryPercent() != 2 {
		t.Errorf("%v", p)
	}
	for _, g := range processes[1:3] {
		if p := g.GetProc(); p.MemoryBytes != nil || p.SmPercent != nil {
			t.Errorf("an unknown value is a number: %v", p)
		}
	}
}

func TestRun_RefusesOtherLibrary(t *testing.T) {
	for path, want := range map[string]string{"/nowhere/libnvidia-ml.so.1": "load the driver's library",
		"libm.so.6": "is no library of NVML"} {
		err := Run(t.Context(), path, time.Second, nil, func(*event.Event) error { return nil })
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestThrottleWords_CoverNVMLsBits(t *testing.T) {
	if got := throttleWords(math.MaxUint64); !strings.HasPrefix(got, "idle,app-clocks,power-cap,hw-slowdown,") ||
		!strings.HasSuffix(got, ",0xfffffffffffff800") {
		t.Error(got)
	}
	if throttleWords(0) != "none" {
		t.Error("no reason is not none")
	}
	if got := xidWords(79); got != "XID 79: the GPU has fallen off the bus" {
		t.Error(got)
	}
	if got := xidWords(9999); got != "XID 9999" {
		t.Error(got)
	}
}
