//go:build linux && cgo

package nvml

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// BenchmarkSample is one sample of eight GPUs with two processes each. It includes the time of the fake driver.
func BenchmarkSample(b *testing.B) {
	driver := fakeDriver(b)
	lines := []string{"devices 8", "driver 580.95.05"}
	for i := range 8 {
		for _, l := range []string{
			"uuid GPU-#", "name NVIDIA H100 80GB HBM3", "pci 00000000:0#:00.0",
			"memory 85899345920 42949672960 536870912", "util 97 40", "gpm 1", "gpm.2 45.5", "gpm.3 30.25", "gpm.5 0",
			"gpm.10 12.5", "gpm.11 0", "gpm.12 3.5", "gpm.13 1", "gpm.20 100", "gpm.21 200", "gpm.60 1000",
			"gpm.61 2000", "power 350123", "limit 700000", "temperature 61", "clock.sm 1755",
			"clock.max 1980", "clock.memory 2619", "throttle 4", "ecc.corrected 3", "ecc.uncorrected 0", "remapped 1",
			"compute 10#:8589934592 20#:1000000", "utilization 10#:50:3 20#:1:1",
		} {
			lines = append(lines, fmt.Sprintf("%d.%s", i, strings.ReplaceAll(l, "#", fmt.Sprint(i))))
		}
	}
	driver.Script(b, "node", lines...)
	events := 0
	r := &Reader{interval: time.Second, emit: func(ev *event.Event) error {
		if ev != nil {
			events++
		}
		return nil
	}, devices: map[string]*device{}, byIndex: map[int]*device{}}
	var err error
	if r.lib, err = load(driver.Library); err != nil {
		b.Fatal(err)
	}
	if ret := r.lib.Init(); ret != nvml.SUCCESS {
		b.Fatal(words(ret))
	}
	defer func() {
		r.closeAll()
		if ret := r.lib.Shutdown(); ret != nvml.SUCCESS {
			b.Error(words(ret))
		}
	}()
	r.events = &xidWatch{}
	b.ReportAllocs()
	for b.Loop() {
		if err := r.sample(); err != nil {
			b.Fatal(err)
		}
	}
	if events != 24*b.N {
		b.Errorf("%d events of %d samples", events, b.N)
	}
}
