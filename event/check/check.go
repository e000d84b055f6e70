// Package check validates events from untrusted sources. An event of a tracer's stream or of a recording is used only
// if Checker.Check accepts it: a tracer may run on a hostile node, and a recording may come from anybody. Check refuses
// numbers out of range, overlong texts and cycles of GPU parents, so that no view needs to handle them.
package check

import (
	"fmt"
	"math"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

//go:generate go run ./gen

const (
	// maxSkew is how far the clock of a node may be from the viewer's.
	maxSkew = 24 * time.Hour
	// maxRecording is how long a recording may be.
	maxRecording = 10 * 366 * 24 * time.Hour
	// maxSources is how many sources of losses a node may name. Losses of further ones are counted as otherSource.
	maxSources  = 64
	otherSource = "other"
	// maxLossNodes bounds the nodes whose sources are counted: a recording may name any number of nodes.
	maxLossNodes = 4096
	// maxParts is how many GPUs that are parts of others are remembered.
	maxParts = 4096
	// statusBurst and statusInterval bound the status lines of a tracer: so many at once, then one in each interval.
	statusBurst    = 16
	statusInterval = time.Second
)

// Error is the reason why an event was refused.
type Error struct {
	// Field is its path, "endpoint.port"; empty where it is the event as a whole.
	Field string
	Why   string
}

func (e *Error) Error() string {
	if e.Field == "" {
		return e.Why
	}
	return e.Field + ": " + e.Why
}

// Checker checks the events of one tracer, or of one recording. It is not safe for concurrent use.
type Checker struct {
	kinds            uint64 // by field number
	earliest, latest uint64
	live             bool

	gpus     map[gpu]gpuRole
	sources  map[lossSource]bool
	nodes    map[string]int // sources by node
	statuses float64        // that may come now
	refilled time.Time
}

type lossSource struct{ node, source string }

// gpu is a device of a node, by its UUID.
type gpu struct{ node, uuid string }

// gpuRole is the place of a device in the hierarchy: a part has a parent, a whole is one. No device is both, so there
// are no cycles.
type gpuRole uint8

const (
	gpuPart gpuRole = iota + 1
	gpuWhole
)

// Stream returns the Checker of a tracer's stream. kinds are the requested kinds; none: all that tracers send. started
// is when the session began; zero: any time since 1970 is accepted.
func Stream(kinds []string, started time.Time) *Checker {
	c := newChecker(kinds)
	c.live, c.statuses = true, statusBurst
	if !started.IsZero() {
		c.earliest = uint64(started.Add(-maxSkew).UnixNano())
	}
	return c
}

// Recording returns the Checker of a recording whose header has these kinds and this start time.
func Recording(kinds []string, started time.Time) *Checker {
	c := newChecker(kinds)
	for _, kind := range kinds {
		if n := recordedNumbers[kind]; n != 0 {
			c.kinds |= 1 << n
		}
	}
	if started.After(time.Unix(0, 0).Add(maxSkew)) && started.Before(time.Unix(0, math.MaxInt64).Add(-maxRecording)) {
		c.earliest, c.latest = uint64(started.Add(-maxSkew).UnixNano()), uint64(started.Add(maxRecording).UnixNano())
	}
	return c
}

func newChecker(kinds []string) *Checker {
	c := &Checker{latest: math.MaxInt64, gpus: map[gpu]gpuRole{}, sources: map[lossSource]bool{},
		nodes: map[string]int{}}
	if len(kinds) == 0 {
		for kind := range kindNumbers {
			kinds = append(kinds, kind)
		}
	}
	// Events about the stream itself accompany every kind.
	for _, kind := range append([]string{"lost", "nodeStatus"}, kinds...) {
		if n := kindNumbers[kind]; n != 0 {
			c.kinds |= 1 << n
		}
	}
	return c
}

// At sets the time at which the next events arrive: of a tracer, they may be as much later as clocks may differ.
func (c *Checker) At(now time.Time) {
	if !c.live {
		return
	}
	if c.earliest != 0 {
		c.latest = uint64(now.Add(maxSkew).UnixNano())
	}
	c.statuses = min(statusBurst, c.statuses+float64(now.Sub(c.refilled))/float64(statusInterval))
	c.refilled = now
}

// Check returns why ev must not be used, nil if it may. It changes one thing: where a node names too many sources of
// losses, the source.
func (c *Checker) Check(ev *event.Event) *Error {
	if ev == nil {
		return noKind
	}
	if t := ev.Time; t < c.earliest || t > c.latest {
		return c.badTime(t)
	}
	if err := c.checkKind(ev); err != nil {
		return err
	}
	if err := checkEvent(ev, c.latest); err != nil {
		return err
	}
	switch k := ev.Kind.(type) {
	case *event.Event_Gpu:
		return c.checkParent(ev.Node, k.Gpu.GetGpu())
	case *event.Event_Lost:
		c.boundSource(ev.Node, k.Lost)
	case *event.Event_NodeStatus:
		if c.live {
			if c.statuses < 1 {
				return &Error{"nodeStatus", fmt.Sprintf("more than %d at once and one in %v", statusBurst,
					statusInterval)}
			}
			c.statuses--
		}
	}
	return nil
}

// checkParent refuses devices that are their own ancestors.
func (c *Checker) checkParent(node string, d *event.GpuDevice) *Error {
	if d.GetParent() == "" {
		return nil
	}
	part, whole := gpu{node, d.GetUuid()}, gpu{node, d.GetParent()}
	switch {
	case part == whole:
		return &Error{"gpuDevice.parent", "is the device itself"}
	case c.gpus[part] == gpuWhole || c.gpus[whole] == gpuPart:
		return &Error{"gpuDevice.parent", "a part of a GPU cannot be the parent of another"}
	case len(c.gpus) >= maxParts && (c.gpus[part] == 0 || c.gpus[whole] == 0):
		return &Error{"gpuDevice.parent", fmt.Sprintf("more than %d devices that are parts of others", maxParts)}
	}
	c.gpus[part], c.gpus[whole] = gpuPart, gpuWhole
	return nil
}

// boundSource keeps a node from filling tables with sources of losses that it makes up.
func (c *Checker) boundSource(node string, l *event.Lost) {
	key := lossSource{node, l.GetSource()}
	if key.source == "" || c.sources[key] {
		return
	}
	if n := c.nodes[node]; n >= maxSources || n == 0 && len(c.nodes) >= maxLossNodes {
		l.Source = otherSource
		return
	}
	c.nodes[node]++
	c.sources[key] = true
}

func (c *Checker) badTime(t uint64) *Error {
	switch {
	case t > math.MaxInt64:
		return &Error{"time", "before 1970, or after 2262"}
	case c.live:
		return &Error{"time", fmt.Sprintf("%s is more than %v off: is the node's clock set?", clock(t), maxSkew)}
	}
	return &Error{"time", fmt.Sprintf("%s is outside of the recording's time", clock(t))}
}

func clock(t uint64) string { return time.Unix(0, int64(t)).UTC().Format(time.RFC3339) }

var noKind = &Error{"", "of no kind that this version knows"}

func rowKind(kind string) *Error {
	return &Error{"", "of the kind " + kind + ", which only viewers make"}
}

func otherKind(kind string) *Error {
	return &Error{"", "of the kind " + kind + ", which was not requested"}
}

func tooLong(field string, n, limit int) *Error {
	return &Error{field, fmt.Sprintf("%d bytes, limit %d", n, limit)}
}

func tooMany(field string, n, limit int) *Error {
	return &Error{field, fmt.Sprintf("a list of %d, limit %d", n, limit)}
}

func tooLarge(field string, n, limit uint64) *Error {
	return &Error{field, fmt.Sprintf("%d, limit %d", n, limit)}
}

func tooLate(field string, t uint64) *Error {
	if t > math.MaxInt64 {
		return &Error{field, "before 1970, or after 2262"}
	}
	return &Error{field, clock(t) + " is in the future"}
}

func notKnown(field string, n int32) *Error {
	return &Error{field, fmt.Sprintf("%d is no value that this version knows", n)}
}

func notNumber(field string, f float64) *Error {
	return &Error{field, fmt.Sprintf("%v is not between 0 and 2^53", f)}
}

func notAddress(field string, n int) *Error {
	return &Error{field, fmt.Sprintf("%d bytes, want 4 or 16", n)}
}
