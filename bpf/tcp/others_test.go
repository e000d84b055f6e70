package tcp

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

func TestRetransmits_WithOtherTracers(t *testing.T) {
	b := newHarness(t, Options{Interval: 100 * time.Millisecond})
	l := b.listen("127.0.0.1")
	b.deafen(l)
	stop := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			p, err := Open(context.Background(), Options{Scope: b.scope, Interval: 100 * time.Millisecond})
			if err != nil {
				t.Error(err)
				return
			}
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			err = p.Run(ctx, func(uint64, *event.Event) {})
			cancel()
			if err := errors.Join(err, p.Close()); err != nil {
				t.Error(err)
				return
			}
		}
	})
	const attempts = 10
	b.client.Run(t, func() {
		var dials sync.WaitGroup
		for range attempts {
			dials.Go(func() {
				if c, err := net.DialTimeout("tcp", l.Addr().String(), 3500*time.Millisecond); err == nil {
					t.Error("it connected")
					c.Close()
				}
			})
		}
		dials.Wait()
	})
	close(stop)
	others.Wait()
	b.flush()
	reported, total := map[uint64]uint64{}, map[uint64]uint64{}
	for _, e := range b.of(b.client) {
		reported[e.SocketCookie] += uint64(e.GetNewRetransmits())
		if e.Outcome == event.TCPOutcome_TCP_OUTCOME_ABANDONED {
			total[e.SocketCookie] = e.GetRetransmits()
		}
	}
	if len(total) != attempts {
		t.Errorf("%d attempts are reported, want %d", len(total), attempts)
	}
	for cookie, n := range total {
		if n == 0 || reported[cookie] != n {
			t.Errorf("%d retransmits reported before the end, %d at the end", reported[cookie], n)
		}
	}
}
