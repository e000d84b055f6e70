package export

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/orb8-dev/kubectl-orb8/internal/exportconfig"
)

// client sends the requests of one signal, one after the other, and notes in its stream how that goes. It is for one
// goroutine.
type client struct {
	*Exporter
	*stream

	// config is what transport is made for; nil: the signal is off.
	config    *Config
	transport transport
	files     *files
	read      time.Time // when the files were read
	failures  int       // since the last success
	began     time.Time // when the present request was sent for the first time; zero: it was not
	logged    time.Time
	// problem is what stays wrong when a request is accepted; empty: nothing.
	problem string
}

// result is what an attempt has made of a request.
type result int

const (
	// kept: the same request is to be tried later.
	kept result = iota
	delivered
	lost
)

// adopt takes over the configuration in force. It is false if that is the present one.
func (c *client) adopt() bool {
	c.mu.Lock()
	config := c.Exporter.config
	if !config.Has(c.name) || c.name == exportconfig.SignalMetrics && c.Metrics == nil {
		config = nil
	}
	same := config == c.config
	if !same {
		c.failing, c.failingSince = "", time.Time{} // an attempt may have failed since Apply
	}
	c.mu.Unlock()
	if same {
		return false
	}
	c.hangUp()
	c.config, c.failures = config, 0
	return true
}

func (c *client) hangUp() {
	if c.transport != nil {
		c.transport.close()
	}
	c.transport, c.files = nil, nil
}

// try sends a request of n records once, and counts them if that decides about them. pause is how long to leave the
// collector alone then.
func (c *client) try(hard context.Context, request []byte, n uint64) (r result, pause time.Duration) {
	if c.began.IsZero() {
		c.began = time.Now()
	}
	answer, failed := c.attempt(hard, request)
	if failed == nil {
		c.accept(n, &answer)
		c.began = time.Time{}
		return delivered, 0
	}
	c.fail(failed)
	switch {
	case !failed.retry:
		r = c.lose(n, Refused)
	case !failed.patient && time.Since(c.began) > c.impatience:
		r = c.lose(n, Expired)
	}
	return r, max(failed.after, c.backoff())
}

// attempt sends a request once.
func (c *client) attempt(hard context.Context, request []byte) (partialSuccess, *sendError) {
	if err := c.connect(); err != nil {
		return partialSuccess{}, &sendError{text: err.Error(), retry: true, patient: true}
	}
	ctx, cancel := context.WithTimeout(hard, c.config.Timeout.Duration)
	defer cancel()
	return c.transport.send(ctx, c.signal, request)
}

// connect makes the transport, anew where a file has changed.
func (c *client) connect() error {
	if c.transport != nil && time.Since(c.read) < filesInterval {
		return nil
	}
	read, err := readFiles(c.config)
	if err != nil {
		c.hangUp()
		return err
	}
	c.read = time.Now()
	if c.transport != nil && c.files.sum == read.sum {
		return nil
	}
	c.hangUp()
	c.transport, err = dial(c.config, read, "orb8-agent/"+c.Version, c.dialContext)
	c.files = read
	return err
}

// lose counts n records as lost, and with them the present request.
func (c *client) lose(n uint64, why Reason) result {
	c.countLost(n, why)
	c.began = time.Time{}
	return lost
}

func (c *client) countLost(n uint64, why Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost[why] += n
}

// accept counts an accepted request of n records.
func (c *client) accept(n uint64, p *partialSuccess) {
	rejected := uint64(p.rejectedOf(int(n)))
	now := time.Now()
	c.mu.Lock()
	c.sent += n - rejected
	c.lost[Refused] += rejected
	since := c.failingSince
	c.lastSent, c.failing, c.failingSince = now, "", time.Time{}
	failing := c.problem
	if rejected > 0 {
		failing = fmt.Sprintf("%d of %d %s were rejected: %s", rejected, n, c.items, p.message)
	}
	if failing != "" {
		c.failingSince = since
		c.noteFailure(failing, now)
	}
	c.mu.Unlock()
	switch {
	case rejected > 0:
		c.warn("the collector rejects "+c.items, failing)
	case c.failures > 0:
		c.Log.Info("export of "+c.items+" works again", "endpoint", address(c.config),
			"failing", now.Sub(since).Round(time.Second))
	case p.message != "":
		c.warn("the collector accepts "+c.items+" with a warning", p.message)
	}
	c.failures = 0
}

// fail notes why a request was not accepted.
func (c *client) fail(failed *sendError) {
	c.failures++
	c.mu.Lock()
	c.noteFailure(failed.text, time.Now())
	c.mu.Unlock()
	message := "export has failed: the " + c.items + " are retried later"
	if !failed.retry {
		message = "the collector refuses " + c.items + ", which are lost"
	}
	c.warn(message, failed.text)
}

func (c *client) warn(message, text string) {
	if now := time.Now(); now.Sub(c.logged) >= logInterval {
		c.logged = now
		c.Log.Warn(message, "endpoint", address(c.config), "err", text)
	}
}

// backoff is the pause before another attempt: exponential, and half of it random.
func (c *client) backoff() time.Duration {
	d := min(maxBackoff, c.firstBackoff<<min(max(c.failures-1, 0), 10))
	return d/2 + rand.N(d/2+1)
}
