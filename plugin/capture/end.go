package capture

import (
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/capture/pcapng"
)

// lose counts lost packets at the interface of their pod.
func (w *Writer) lose(ev *event.Event, n uint64) error {
	c, err := w.interfaceOf(podOf(ev), ev)
	if err != nil {
		return err
	}
	c.lost += n
	c.last = max(c.last, ev.GetTime())
	return nil
}

// next ends the present file and begins the next one.
func (w *Writer) next() error {
	if err := w.appendStatistics(); err != nil {
		return err
	}
	if err := errors.Join(w.Files.flush(), w.Files.close()); err != nil {
		return err
	}
	return w.begin()
}

// appendStatistics appends the counters of each interface.
func (w *Writer) appendStatistics() error {
	now := uint64(time.Now().UnixNano())
	for _, c := range w.order {
		s := pcapng.Statistics{
			Interface: c.index, Time: max(now, c.last), Start: w.started, End: max(now, c.last),
			Received: c.written + c.lost, Dropped: c.lost, Delivered: c.written,
		}
		if c.lost > 0 {
			s.Comments = []string{fmt.Sprintf("%d packets were lost on node %s", c.lost, c.node)}
		}
		if err := w.Files.add(pcapng.AppendStatistics(nil, s)); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the last file. It repeats an error of Show.
func (w *Writer) Close() error {
	close(w.over)
	w.flushing.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.err
	if err == nil {
		err = errors.Join(w.appendStatistics(), w.Files.flush())
	}
	return closedPipe(errors.Join(err, w.Files.close()))
}

// closedPipe makes the error of a pipe that nobody reads io.ErrClosedPipe.
func closedPipe(err error) error {
	if errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("%w: %w", io.ErrClosedPipe, err)
	}
	return err
}

var _ interface { // live.Consumer
	Show(ev *event.Event) error
	Close() error
	Shown() int
} = (*Writer)(nil)
