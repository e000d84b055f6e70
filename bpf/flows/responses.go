package flows

import (
	"fmt"
	"math"
	"os"
	"sync"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// histograms are where programs count response times.
type histograms interface {
	// read returns the histogram at a place, nil where it is not known, until the next call.
	read(place, generation uint32) *objectResponses
}

// responseMemory is the histograms of response times, as programs fill them (responses.h).
// It is mapped here and not by ebpf.Memory, which is unmapped only when the garbage collector finds it: until then, the
// kernel keeps the map.
type responseMemory struct {
	mutex  sync.Mutex // a probe may be closed while it is read
	memory []byte     // nil: closed
	copied objectResponses
}

// freeResponses is struct free_responses.
type freeResponses struct {
	SinceUs  uint64
	Place, _ uint32
}

// newResponseMemory maps the histograms, and tells the programs that all of them are free.
func newResponseMemory(histograms, free *ebpf.Map) (*responseMemory, error) {
	for place := range free.MaxEntries() {
		if err := free.Update(nil, freeResponses{Place: place}, ebpf.UpdateAny); err != nil {
			return nil, fmt.Errorf("fill the queue of free histograms: %w", err)
		}
	}
	const size = int(unsafe.Sizeof(objectResponses{}))
	page := os.Getpagesize()
	length := (int(histograms.MaxEntries())*size + page - 1) / page * page
	memory, err := unix.Mmap(histograms.FD(), 0, length, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the histograms of response times: %w", err)
	}
	return &responseMemory{memory: memory}, nil
}

// read returns the histogram at a place, from 1 on, until the next call. It returns nil if there is none, or if another
// connection has got it: that takes a second, so the reader is late.
func (m *responseMemory) read(place, generation uint32) *objectResponses {
	const size = int(unsafe.Sizeof(objectResponses{}))
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if place == 0 || int64(place) > int64(len(m.memory)/size) {
		return nil
	}
	r, from := &m.copied, m.memory[int(place-1)*size:]
	copy(unsafe.Slice((*byte)(unsafe.Pointer(r)), size), from)
	if r.Generation != generation {
		return nil
	}
	var after uint32 // the copy takes some time
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&after)), 4), from)
	if after != generation {
		return nil
	}
	return r
}

// close unmaps the histograms.
func (m *responseMemory) close() error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	memory := m.memory
	m.memory = nil
	if memory == nil {
		return nil
	}
	return unix.Munmap(memory)
}

// fillResponses sets the response times of the counters.
func (d *decoder) fillResponses(e *objectFlowEvent) {
	d.counters.Responses = nil
	if e.Protocol != protoTCP {
		return
	}
	r := d.responses.read(e.ResponsePlace, e.ResponseGeneration)
	if r == nil || r.Count == 0 {
		return
	}
	t := &d.times
	t.Histogram, t.MaxMicros, t.TotalMicros = t.Histogram[:0], uint64(r.MaxUs), r.SumUs
	missing := r.missing()
	for bucket, n := range r.Buckets {
		switch {
		case n == math.MaxUint32:
			t.Histogram = event.AppendResponses(t.Histogram, bucket, uint64(n)+missing)
		case n != 0:
			t.Histogram = event.AppendResponses(t.Histogram, bucket, uint64(n))
		}
	}
	d.counters.Responses = t
}

// missing returns what each bucket that has stopped at its maximum lacks, if all of them lack as much.
func (r *objectResponses) missing() uint64 {
	var sum, stopped uint64
	for _, n := range r.Buckets {
		sum += uint64(n)
		if n == math.MaxUint32 {
			stopped++
		}
	}
	if stopped == 0 || r.Count < sum {
		return 0
	}
	return (r.Count - sum) / stopped
}
