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

// library is the driver's library, loaded. Its methods may be called from several goroutines.
type library struct {
	nvml.Interface
	handle *dl.DynamicLibrary

	mu   sync.Mutex
	has  map[string]bool
	call atomic.Pointer[call]
	// timings, if not nil, gets how long each call took.
	timings *Timings
}

// call is one that has not returned.
type call struct {
	name  string
	since time.Time
}

// load opens the library at an absolute path and nothing else: no search path takes part.
func load(path string) (*library, error) {
	// Lazily, since the library wants no symbol of ours, and for all, since go-nvml's calls are resolved in what the
	// process holds.
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

// supports tells whether the library has a function, in any of its versions. A name that says its version is of that
// one alone.
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

// do calls f, which calls the library's function of that name, where there is one.
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

// stuck names the call that has not returned for at least so long; empty without one.
func (l *library) stuck(limit time.Duration) string {
	if c := l.call.Load(); c != nil && time.Since(c.since) >= limit {
		return c.name
	}
	return ""
}

// get calls f and gives what it returned, nil where that is nothing. field is what it is for.
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
