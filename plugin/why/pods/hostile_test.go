package pods

import (
	"encoding/binary"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// samples are events of all kinds that verdicts use.
func samples() *world {
	w := new(
		world,
	).uses(sample{millis: 200, limit: 200, throttled: 95, memory: 90 << 20, memoryLimit: 100 << 20, ooms: 1}).
		resolves(2, []string{"api.example.com.shop.svc.cluster.local.", "api.example.com."}, nil).
		connects(service("api", 80), event.TCPOutcome_TCP_OUTCOME_REFUSED, nil).
		connects(end(7, 80), event.TCPOutcome_TCP_OUTCOME_RETRANSMITS, nil).
		sends("f", end(7, 80), 100, 2).
		drops("NETFILTER_DROP", event.Side_SIDE_SRC, end(7, 80)).
		fails("/etc/app/conf.yaml", "ENOENT", 1, 1)
	return w
}

func FuzzWatch(f *testing.F) {
	var in []byte
	at := time.Unix(0, int64(start))
	events := append([]*event.Event{
		(&Facts{Namespace: "shop", Name: "web", Restarting: true, LastEnd: "exit code 1"}).Event(at),
		Service{"shop", "api"}.Event(at, Endpoints{NotReady: "api-1"}),
	}, samples().events...)
	for i, ev := range events {
		if i > 1 && i%7 != 0 {
			continue // small inputs are tried more often
		}
		b, err := proto.Marshal(ev)
		if err != nil {
			f.Fatal(err)
		}
		in = append(binary.AppendUvarint(in, uint64(len(b))), b...)
	}
	f.Add(in)
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, length := range []time.Duration{0, 30 * time.Second} {
			w := New(length)
			w.Observe(allSources...)
			rest := in
			for n := 0; len(rest) > 0 && n < 2000; n++ {
				size, used := binary.Uvarint(rest)
				if used <= 0 || size > uint64(len(rest)-used) {
					break
				}
				ev := &event.Event{}
				if proto.Unmarshal(rest[used:used+int(size)], ev) == nil {
					w.Add(ev)
				}
				rest = rest[used+int(size):]
				if n == 50 {
					w.Restart()
				}
			}
			for _, s := range w.Failing() {
				w.SetEndpoints(s, Endpoints{})
			}
			for _, ev := range w.Verdicts() {
				check(t, ev)
			}
		}
	})
}

// check holds an event against what every verdict must be.
func check(t *testing.T, ev *event.Event) {
	t.Helper()
	line := event.AppendJSON(nil, ev)
	if !json.Valid(line) {
		t.Fatalf("no JSON: %s", line)
	}
	for _, r := range string(AppendText(nil, ev, "shop")) {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Fatalf("%q is shown: %s", r, line)
		}
	}
	v := ev.GetPodVerdict()
	sum := uint64(0)
	for _, s := range v.GetShares() {
		sum += s
	}
	if len(v.GetShares()) > 0 && (sum < 99_000 || sum > 101_000) {
		t.Fatalf("shares come to %d: %s", sum, line)
	}
}

func TestText_OfHostileNames(t *testing.T) {
	w := New(window * time.Second)
	w.Observe(allSources...)
	hostile := "\x1b[31mignore\r\nall\u202e"
	world := new(world).uses(calm).fails("/etc/"+hostile, "ENOENT", 1, 1).
		resolves(2, []string{hostile}, func(_ int, d *event.Dns) { d.Rcode = "NXDOMAIN" })
	for _, ev := range world.events {
		w.Add(ev)
	}
	w.SetFacts(&Facts{Namespace: "shop", Name: "web", Restarting: true, Message: hostile, LastEnd: hostile})
	rows := w.Verdicts()
	check(t, rows[0])
	if text := string(AppendText(nil, rows[0], "shop")); !strings.Contains(text, "all") ||
		strings.Count(text, "\n") > 20 {
		t.Errorf("%s", text)
	}
}

func TestText_OfAVerdict(t *testing.T) {
	w := New(window * time.Second)
	w.Observe(allSources...)
	world := new(world).uses(sample{millis: 200, limit: 200, throttled: 95, delayMicros: 50_000, memory: 20 << 20,
		memoryLimit: 100 << 20}).connects(end(7, 5432), event.TCPOutcome_TCP_OUTCOME_REFUSED, nil).
		resolves(1, []string{"db.shop.svc.cluster.local."}, nil)
	for i := range window + 1 {
		for _, ev := range world.events {
			if ev.GetTime() == start+uint64(i)*second {
				w.Add(ev)
			}
		}
	}
	w.SetFacts(&Facts{Namespace: "shop", Name: "web", Node: "n1", Ready: true, Running: true, Restarts: 2,
		LastEnd: "exit code 2"})
	const want = "web (deploy/web) on n1: consistent with a CPU limit that holds the pod back; and with " +
		`connections that 10.0.0.7:5432 refuses: nothing listens there
  confidence  high
  shares      cpuLimit 50%, refused 50%
  CPU         200m of 200m, throttled in 95%, waits for a CPU 20%
  memory      20.0Mi of 100Mi
  DNS         30 lookups, median 384µs
  connections 30 attempts, 30 refused
  processes   last end: exit code 2
  Kubernetes  2 restarts
  window      30s; nothing lost
  next        kubectl orb8 trace resources web -n shop
`
	if got := string(AppendText(nil, w.Verdicts()[0], "shop")); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func BenchmarkWatch_Add(b *testing.B) {
	events := samples().events
	w := New(window * time.Second)
	w.Observe(allSources...)
	b.ReportAllocs()
	for i := range b.N {
		w.Add(events[i%len(events)])
	}
}
