//go:build linux && cgo

package nvml

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/dl"
	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// library is the loaded library of the driver. It is safe for concurrent use.
type library struct {
	nvml.Interface
	handle *dl.DynamicLibrary

	mu   sync.Mutex
	has  map[string]bool
	call atomic.Pointer[call]
	// timings, if not nil, records the duration of each call.
	timings *Timings
}

// call is a call that has not returned.
type call struct {
	name  string
	since time.Time
}

// load opens the library at an absolute path, without any search path.
func load(path string) (*library, error) {
	// Lazily, because the library needs no symbol of this program, and globally, because go-nvml's calls are resolved
	// in the global symbols of the process. They stay bound to the first library that a process loads.
	handle := dl.New(path, dl.RTLD_LAZY|dl.RTLD_GLOBAL)
	if err := handle.Open(); err != nil {
		return nil, fmt.Errorf("load the driver's library: %w", err)
	}
	l := &library{Interface: nvml.New(nvml.WithLibraryPath(path)), handle: handle, has: map[string]bool{}}
	if !l.supports("nvmlInit") {
		return nil, fmt.Errorf("%s is no library of NVML: it has no nvmlInit", path)
	}
	return l, nil
}

// supports reports whether the library has a function, in any of its versions. A name with a version means only that
// version.
func (l *library) supports(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	has, known := l.has[name]
	if known {
		return has
	}
	for _, version := range []string{"", "_v2", "_v3", "_v4"} {
		if l.handle.Lookup(name+version) == nil {
			has = true
			break
		}
	}
	l.has[name] = has
	return has
}

// do calls f, which calls the library's function of that name, if the library has it.
func (l *library) do(name string, f func() nvml.Return) nvml.Return {
	if !l.supports(name) {
		return nvml.ERROR_FUNCTION_NOT_FOUND
	}
	began := time.Now()
	l.call.Store(&call{name, began})
	defer l.call.Store(nil)
	ret := f()
	if l.timings != nil {
		l.timings.add(name, time.Since(began), ret == nvml.SUCCESS)
	}
	return ret
}

// stuck returns the function of a call that has run for at least limit, or "".
func (l *library) stuck(limit time.Duration) string {
	if c := l.call.Load(); c != nil && time.Since(c.since) >= limit {
		return c.name
	}
	return ""
}

// get calls f and returns its value, nil after an error. field is the field of the value in the event.
func get[T any](l *library, g *gaps, field, name string, f func() (T, nvml.Return)) *T {
	var value T
	ret := l.do(name, func() (ret nvml.Return) {
		value, ret = f()
		return ret
	})
	if ret != nvml.SUCCESS {
		g.add(field, ret)
		return nil
	}
	return &value
}
