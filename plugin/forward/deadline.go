package forward

import (
	"os"
	"sync"
	"time"
)

// deadlines implements the deadlines of a net.Conn for a stream, with one difference: an expired deadline ends the
// connection permanently. TLS does the same, and gRPC sets deadlines only when it gives up a connection.
type deadlines struct {
	mu    sync.Mutex
	read  *time.Timer
	write *time.Timer
	over  bool
	done  bool
}

func (d *deadlines) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done = true
	for _, t := range []*time.Timer{d.read, d.write} {
		if t != nil {
			t.Stop()
		}
	}
}

func (d *deadlines) expired() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over {
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (c *conn) arm(timer **time.Timer, at time.Time) {
	d := &c.deadlines
	d.mu.Lock()
	defer d.mu.Unlock()
	if *timer != nil {
		(*timer).Stop()
		*timer = nil
	}
	if at.IsZero() || d.done {
		return
	}
	*timer = time.AfterFunc(time.Until(at), func() {
		d.mu.Lock()
		d.over = !d.done
		d.mu.Unlock()
		c.shut()
	})
}

// SetDeadline, SetReadDeadline and SetWriteDeadline implement net.Conn; see deadlines.
func (c *conn) SetDeadline(t time.Time) error {
	c.arm(&c.deadlines.read, t)
	c.arm(&c.deadlines.write, t)
	return nil
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.arm(&c.deadlines.read, t)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.arm(&c.deadlines.write, t)
	return nil
}
