package flows

import (
	"errors"
	"io"
	"os"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/sys/unix"
)

func TestAWalkOverAMillionObjectsGoesOn(t *testing.T) {
	again := iotest.ErrReader(&os.PathError{Op: "read", Path: "bpf_iter", Err: unix.EAGAIN})
	asked := 0
	if err := runThrough(readerFunc(func(b []byte) (int, error) {
		if asked++; asked < 4 {
			return again.Read(b)
		}
		return 0, io.EOF
	})); err != nil || asked != 4 {
		t.Errorf("asked %d times: %v", asked, err)
	}
	broken := errors.New("broken")
	if err := runThrough(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func TestPatienceShrinksWithTheRoomThatIsLeft(t *testing.T) {
	for _, test := range []struct {
		flows uint64
		want  time.Duration
	}{
		{0, 30 * time.Second},
		{500, 7500 * time.Millisecond},
		{900, 300 * time.Millisecond},
		{1000, 0},
		{2000, 0}, // both families are counted, each has room of its own
	} {
		if got := patienceFor(30*time.Second, test.flows, 1000); got.Round(time.Millisecond) != test.want {
			t.Errorf("%d flows in room for 1000: %s, want %s", test.flows, got, test.want)
		}
	}
}

func TestWalksKeepToTheBeatOfTheClock(t *testing.T) {
	const second = time.Second
	at := func(ns int64) time.Time { return time.Unix(0, ns) }
	for name, test := range map[string]struct {
		now  int64
		want int64
	}{
		"in the middle of an interval": {5_300_000_000, 6_000_000_000},
		"on the beat":                  {5_000_000_000, 6_000_000_000},
		"just before it":               {5_999_999_999, 6_000_000_000},
	} {
		if got := nextWalk(at(test.now), second); got.UnixNano() != test.want {
			t.Errorf("%s: %d, want %d", name, got.UnixNano(), test.want)
		}
	}
}
