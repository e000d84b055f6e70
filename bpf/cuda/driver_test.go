package cuda

import (
	"os"
	"path/filepath"
	"testing"
)

// TestProbe_CountsNVIDIAsLibrary wants the driver's own library, without a GPU: `make driver-check` fetches it.
// There, every call fails, and is counted.
func TestProbe_CountsNVIDIAsLibrary(t *testing.T) {
	dir := os.Getenv("ORB8_NVIDIA_DRIVER")
	if dir == "" {
		t.Skip("ORB8_NVIDIA_DRIVER names no directory with libcuda.so.1: make driver-check")
	}
	path := filepath.Join(dir, "libcuda.so.1")
	b := newHarness(t, Options{})
	b.release()
	l := b.attach(path)
	stepped := 0
	for _, s := range l.Sites {
		if !s.Emulated {
			stepped++
			t.Logf("%s is single-stepped", s.Name)
		}
	}
	if len(l.Sites) < 60 || stepped > 0 {
		t.Errorf("%d functions are probed, %d of them single-stepped", len(l.Sites), stepped)
	}
	t.Logf("%d functions are probed", len(l.Sites))
	for _, args := range [][]string{{path}, {"-runtime", path}} {
		w := b.start(b.in, "", args...)
		w.do("launch 10")
		for range 3 {
			w.out.Scan()
		}
		w.do("copy 5")
		// All copies fail, so the program counts no bytes for them.
		p := w.check(w.do("fail 3"))
		if c := p.Calls; c.GetLaunches() != 40 || c.GetCopies() != 5 || c.GetFailures() != 8 ||
			c.GetAllocations() != 0 || c.GetHostToDeviceBytes() != 0 {
			t.Errorf("%v: %v", args, c)
		}
	}
}
