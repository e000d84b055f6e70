package collect

import (
	"net/netip"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// pastNames is a Namer whose names are the times.
type pastNames struct{ names }

func (pastNames) NameAt(_ netip.Addr, _ uint16, _ event.Protocol, at time.Time) Name {
	return Name{Pod: at.UTC().Format(time.RFC3339)}
}

func TestNameAt_OnlyOfRecordedEvents(t *testing.T) {
	at := uint64(time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC).UnixNano())
	end := newAddrPort(endpoint("10.0.0.1:80"))
	for recorded, want := range map[bool]string{true: "2026-11-30T08:00:00Z", false: "client"} {
		c := New(Options{Namer: pastNames{cluster}, Recorded: recorded})
		if got := c.nameAt(end, tcp, at).Pod; got != want {
			t.Errorf("recorded %v: %q, want %q", recorded, got, want)
		}
	}
}
