// Package capture writes the packets of a session to pcapng files: an interface for each pod, names for addresses, and
// comments that say whose a flow is.
package capture

import (
	"net/netip"
	"sync"
	"time"

	"github.com/orb8-dev/kubectl-orb8/collect"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/plugin/capture/pcapng"
)

const (
	// flushInterval is how long a packet waits to be written.
	flushInterval = 200 * time.Millisecond
	// maxFlows, maxNames and maxPods bound what is remembered of a file: tracers choose what they send. Beyond maxFlows
	// comments are repeated, beyond maxNames addresses have no names, and packets beyond maxPods share an interface.
	maxFlows, maxNames, maxPods = 1 << 16, 1 << 16, 4096
)

// Config is what a capture writes.
type Config struct {
	Files *Files
	// Application is the program that writes, Comment describes the capture.
	Application, Comment string
	// Filter is the expression that packets match; empty: all.
	Filter     string
	SnapLength uint32
	// MaxPackets and MaxBytes end the capture; 0: they do not. MaxBytes counts what is written.
	MaxPackets, MaxBytes int64
	// Namer names addresses; nil: they have no names.
	Namer collect.Namer
	// End is called where a limit is reached, or the capture cannot go on.
	End func()
}

// Writer is a consumer of a session. Its methods are for one goroutine.
type Writer struct {
	Config
	packets int

	mu sync.Mutex
	// err is why nothing more can be written, ended that nothing more is wanted.
	err   error
	ended bool
	block []byte
	contents
	over     chan struct{}
	flushing sync.WaitGroup
}

// contents are what the present file has.
type contents struct {
	started    uint64
	interfaces map[pod]*counters
	order      []*counters
	flows      map[podFlow]bool // whether the process was named
	names      map[netip.Addr]bool
}

// pod identifies an interface. The zero value is that of packets whose pod is not known.
type pod struct{ namespace, name string }

type podFlow struct {
	pod
	flow
}

type counters struct {
	index         uint32
	node          string
	written, lost uint64
	last          uint64
}

// New opens the first file and writes its head.
func New(c Config) (*Writer, error) {
	w := &Writer{Config: c, over: make(chan struct{})}
	if err := w.begin(); err != nil {
		return nil, err
	}
	w.flushing.Go(w.flushRegularly)
	return w, nil
}

// begin opens the next file.
func (w *Writer) begin() error {
	if err := w.Files.open(); err != nil {
		return err
	}
	w.contents = contents{
		started: uint64(time.Now().UnixNano()), interfaces: map[pod]*counters{}, flows: map[podFlow]bool{},
		names: map[netip.Addr]bool{},
	}
	section := pcapng.Section{Application: w.Application}
	if w.Comment != "" {
		section.Comments = []string{w.Comment}
	}
	if err := w.Files.add(pcapng.AppendSection(nil, section)); err != nil {
		return err
	}
	return w.Files.flush() // a reader of standard output waits for it
}

// flushRegularly writes what waits until Close.
func (w *Writer) flushRegularly() {
	tick := time.NewTicker(flushInterval)
	defer tick.Stop()
	for {
		select {
		case <-w.over:
			return
		case <-tick.C:
		}
		w.mu.Lock()
		err := w.fail(w.Files.flush())
		w.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// fail keeps the first error, and ends the capture. The lock is held.
func (w *Writer) fail(err error) error {
	if w.err == nil && err != nil {
		w.err = closedPipe(err)
		w.End()
	}
	return w.err
}

// Shown is how many packets were written.
func (w *Writer) Shown() int { return w.packets }

// Discard removes the file of a capture that has not begun, so that the next try meets no file. Close precedes it.
func (w *Writer) Discard() error {
	if w.packets > 0 {
		return nil
	}
	return w.Files.discard()
}

// Written is how many bytes were written, and the names of the files that are kept.
func (w *Writer) Written() (bytes int64, files []string) { return w.Files.total, w.Files.names }

// Show writes a packet, or counts a loss. Other events are no part of a capture.
func (w *Writer) Show(ev *event.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil || w.ended {
		return w.err
	}
	switch k := ev.GetKind().(type) {
	case *event.Event_Packet:
		return w.fail(w.write(ev, k.Packet))
	case *event.Event_Lost:
		if k.Lost.GetStage() != event.LossStage_LOSS_STAGE_NAMING { // those came, without a name
			return w.fail(w.lose(ev, k.Lost.GetCount()))
		}
	}
	return nil
}

func (w *Writer) write(ev *event.Event, p *event.Packet) error {
	b, err := w.encode(ev, p)
	if err != nil {
		return err
	}
	if w.Files.full(len(b)) && w.packetsInFile() > 0 {
		if err := w.next(); err != nil {
			return err
		}
		if b, err = w.encode(ev, p); err != nil { // with the interface, the names and the comments of this file
			return err
		}
	}
	if w.MaxBytes > 0 && w.Files.size()+int64(len(b)) > w.MaxBytes {
		w.finish()
		return nil
	}
	w.count(ev).written++
	w.packets++
	err = w.Files.add(b)
	if w.MaxPackets > 0 && int64(w.packets) >= w.MaxPackets {
		w.finish()
	}
	return err
}

// count returns the counters of a packet that was encoded.
func (w *Writer) count(ev *event.Event) *counters {
	if c := w.interfaces[podOf(ev)]; c != nil {
		return c
	}
	return w.interfaces[pod{}]
}

// finish ends a capture at its limit.
func (w *Writer) finish() {
	w.ended = true
	w.End()
}

func (w *Writer) packetsInFile() (n uint64) {
	for _, c := range w.order {
		n += c.written
	}
	return n
}

// encode returns the blocks of a packet: what precedes it and itself. They are valid until the next call.
func (w *Writer) encode(ev *event.Event, p *event.Packet) ([]byte, error) {
	w.block = w.block[:0]
	c, err := w.interfaceOf(podOf(ev), ev)
	if err != nil {
		return nil, err
	}
	c.last = ev.GetTime()
	f, isIP := parse(p.GetData(), p.GetDirection())
	var comments []string
	if isIP {
		w.block = w.appendNames(w.block, f)
		comments = w.describe(podFlow{podOf(ev), f}, ev, p)
	}
	w.block = pcapng.AppendPacket(w.block, pcapng.Packet{
		Interface: c.index, Time: ev.GetTime(), Data: p.GetData(),
		Length: max(p.GetLength(), uint32(len(p.GetData()))), Direction: directions[p.GetDirection()],
		Comments: comments,
	})
	return w.block, nil
}

var directions = map[event.PacketDirection]pcapng.Direction{
	event.PacketDirection_PACKET_DIRECTION_SENT:     pcapng.Outbound,
	event.PacketDirection_PACKET_DIRECTION_RECEIVED: pcapng.Inbound,
}

func podOf(ev *event.Event) pod {
	if ev.GetPod() == "" {
		return pod{}
	}
	return pod{ev.GetNamespace(), ev.GetPod()}
}

func (p pod) String() string {
	if p.name == "" {
		return "unknown pods"
	}
	return p.namespace + "/" + p.name
}

// interfaceOf returns the counters of a pod's interface, which it adds to the file where that lacks it.
func (w *Writer) interfaceOf(p pod, ev *event.Event) (*counters, error) {
	if c := w.interfaces[p]; c != nil {
		return c, nil
	}
	if len(w.order) >= maxPods && p != (pod{}) {
		return w.interfaceOf(pod{}, ev)
	}
	c := &counters{index: uint32(len(w.order)), node: ev.GetNode(), last: ev.GetTime()}
	description := "pod on node " + ev.GetNode()
	if ev.GetWorkload() != "" {
		description += " of " + ev.GetWorkload()
	}
	w.interfaces[p] = c
	w.order = append(w.order, c)
	return c, w.Files.add(pcapng.AppendInterface(nil, pcapng.Interface{
		Name: safe.Text(p.String()), Description: safe.Text(description), Filter: w.Filter, SnapLength: w.SnapLength,
	}))
}
