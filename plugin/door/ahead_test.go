package door

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// closing is one end of a pipe that notes its end.
type closing struct {
	net.Conn
	closed *int
}

func (c closing) Close() error {
	*c.closed++
	return c.Conn.Close()
}

func TestAhead_IsGivenOnce(t *testing.T) {
	errDial := errors.New("refused")
	for name, test := range map[string]struct {
		pod    string
		wait   time.Duration
		fail   bool
		dials  int // in all, for two connections
		closed int // by close
	}{
		"used":           {pod: "a", dials: 2},
		"of another pod": {pod: "b", dials: 3, closed: 1},
		"too old":        {pod: "a", wait: maxAhead + 1, dials: 3, closed: 1},
		"failed":         {pod: "a", fail: true, dials: 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dials, closed := 0, 0
				dial := func(context.Context, string) (net.Conn, error) {
					if dials++; dials == 1 && test.fail {
						return nil, errDial
					}
					end, _ := net.Pipe()
					return closing{end, &closed}, nil
				}
				first := dialAhead(t.Context(), dial, "a")
				synctest.Wait()
				time.Sleep(test.wait)
				get := first.dialer(dial)
				for range 2 {
					if _, err := get(t.Context(), test.pod); err != nil {
						t.Fatal(err)
					}
				}
				first.close()
				if dials != test.dials || closed != test.closed {
					t.Errorf("%d dials and %d closed, want %d and %d", dials, closed, test.dials, test.closed)
				}
			})
		})
	}
	var none *ahead
	if _, err := none.dialer(func(context.Context, string) (net.Conn, error) { return nil, errDial })(t.Context(),
		"a"); !errors.Is(err, errDial) {
		t.Errorf("without one: %v", err)
	}
	none.close()
}
