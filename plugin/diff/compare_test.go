package diff

import (
	"slices"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// both makes two streams that both have the same calls.
func both() (a, b *stream) { return newStream(1).calls(120, "db"), newStream(2).calls(120, "db") }

func TestCompare_FindsDifferences(t *testing.T) {
	refusal := event.TCPOutcome_TCP_OUTCOME_REFUSED
	for _, test := range []struct {
		name string
		make func(a, b *stream)
		want []string
	}{
		{"nothing", func(_, _ *stream) {}, nil},
		{"a new peer", func(_, b *stream) { b.calls(60, "cache") },
			[]string{"appeared peer shop/cache:80: connections 0 -> 1"}},
		{"a peer less", func(a, _ *stream) { a.calls(60, "cache") },
			[]string{"vanished peer shop/cache:80: connections 1 -> 0"}},
		{"a peer that is called once", func(_, b *stream) { b.flow(7*time.Second, web(), service("cache", 80), 5) },
			[]string{"appeared peer shop/cache:80: connections 0 -> 0.01667 rare"}},
		{"calls in one burst", func(_, b *stream) {
			for range 20 {
				b.flow(7*time.Second, web(), service("cache", 80), 5)
			}
		}, []string{"appeared peer shop/cache:80: connections 0 -> 0.3333 rare"}},
		{"twice as many connections", func(_, b *stream) { b.calls(120, "db") }, []string{
			"changed peer shop/db:80: connections 2 -> 4", "changed peer shop/db:80: sent 2047 -> 4101",
			"changed peer shop/db:80: received 2047 -> 4101",
		}},
		{"a tenth more connections", func(_, b *stream) { b.calls(12, "db") }, nil},
		{"slower responses", func(a, b *stream) {
			for i, s := range []*stream{a, b} {
				s.every(60, func(at time.Duration) {
					s.flow(at, web(), service("cache", 80), 100)
					f := s.events[len(s.events)-1].GetFlow()
					f.SrcCounters.Responses = &event.ResponseTimes{TotalMicros: uint64(6000 * (i + 1)),
						Histogram: event.AppendResponses(nil, event.ResponseBucket(3000), 2)}
				})
			}
		}, []string{"changed peer shop/cache:80: response 3000 -> 6000"}},
		{"refusals", func(_, b *stream) {
			b.every(60, func(at time.Duration) { b.outcome(at, service("db", 80), refusal) })
		}, []string{"changed peer shop/db:80: refused 0 -> 1"}},
		{"one refusal", func(_, b *stream) { b.outcome(time.Second, service("db", 80), refusal) }, nil},
		{"a new peer that refuses", func(_, b *stream) {
			b.every(60, func(at time.Duration) { b.outcome(at, service("cache", 80), refusal) })
		}, []string{"appeared peer shop/cache:80: refused 0 -> 1"}},
		{"a name", func(a, b *stream) {
			a.every(60, func(at time.Duration) { a.lookup(at, "db.shop.", "NOERROR", 500) })
			b.every(60, func(at time.Duration) { b.lookup(at, "db.shop.", "NOERROR", 500) })
			b.every(60, func(at time.Duration) { b.lookup(at, "api.example.", "NOERROR", 500) })
		}, []string{"appeared dns api.example.: queries 0 -> 1"}},
		{"a name with its search path", func(_, b *stream) {
			b.every(60, func(at time.Duration) {
				b.lookup(at, "api.example.shop.svc.cluster.local.", "NXDOMAIN", 500)
				b.lookup(at, "api.example.svc.cluster.local.", "NXDOMAIN", 500)
				b.lookup(at, "api.example.", "NOERROR", 500)
			})
		}, []string{"appeared dns api.example.: queries 0 -> 1", "appeared dns api.example.: nxdomain 0 -> 2"}},
		{"a name that fails, slowly", func(a, b *stream) {
			a.every(60, func(at time.Duration) { a.lookup(at, "db.shop.", "NOERROR", 500) })
			b.every(60, func(at time.Duration) { b.lookup(at, "db.shop.", "SERVFAIL", 9000) })
		}, []string{"changed dns db.shop.: failed 0 -> 1", "changed dns db.shop.: latency 500 -> 9000"}},
		{"programs", func(a, b *stream) {
			a.exec(5*time.Second, "/bin/old")
			b.every(60, func(at time.Duration) { b.exec(at, "/bin/new\x1b[2J\xff") })
		}, []string{`appeared exec $'/bin/new\x1b[2J\xff': runs 0 -> 1`,
			"vanished exec /bin/old: runs 0.01667 -> 0 rare"}},
		{"a workload", func(_, b *stream) {
			b.every(60, func(at time.Duration) {
				src := service("jobs", 0)
				src.Service = ""
				b.flow(at, src, service("db", 80), 100)
			})
		}, []string{"appeared workload: events 0 -> 1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := both()
			test.make(a, b)
			if got := lines(rowsOf(t, a.profile(t), b.profile(t), false)); !slices.Equal(got, test.want) {
				t.Errorf("got\n%q\nwant\n%q", got, test.want)
			}
		})
	}
}

// TestCompare_LeavesOutNoise compares recordings whose amounts vary by a factor of 5 from second to second.
func TestCompare_LeavesOutNoise(t *testing.T) {
	noisy := func(seed uint64) *stream {
		s := newStream(seed)
		for at := time.Duration(0); at < s.length; at += time.Second {
			for range 1 + s.random.IntN(5) {
				s.flow(at, web(), service("db", 80), 100+s.random.Uint64N(1000))
			}
		}
		return s
	}
	for seed := range uint64(200) {
		rows := rowsOf(t, noisy(2*seed).profile(t), noisy(2*seed+1).profile(t), false)
		if len(rows) > 0 {
			t.Errorf("seed %d: %q", seed, lines(rows))
		}
	}
}

func TestCompare_TakesRatesOfDifferentLengths(t *testing.T) {
	short := newStreamOf(30*time.Second, 1).calls(60, "db")
	long := newStreamOf(4*time.Minute, 2).calls(480, "db")
	if got := lines(rowsOf(t, short.profile(t), long.profile(t), false)); got != nil {
		t.Errorf("the same rates: %q", got)
	}
	// Once in four minutes would not be expected in 30 s.
	long.exec(time.Minute, "/bin/once")
	if got := lines(rowsOf(t, short.profile(t), long.profile(t), false)); got != nil {
		t.Errorf("a rare program in the longer recording: %q", got)
	}
	second := newStreamOf(time.Second, 3).calls(2, "db")
	if got := lines(rowsOf(t, long.profile(t), second.profile(t), false)); got != nil {
		t.Errorf("a recording of a second: %q", got)
	}
}

// TestCompare_IsSymmetric compares streams of all topics with themselves and in both orders.
func TestCompare_IsSymmetric(t *testing.T) {
	for seed := range uint64(50) {
		a, b := anyStream(2*seed), anyStream(2*seed+1)
		for _, all := range []bool{false, true} {
			if rows := rowsOf(t, a.profile(t), a.profile(t), all); len(rows) > 0 {
				t.Fatalf("seed %d: differs from itself: %q", seed, lines(rows))
			}
			there, back := rowsOf(t, a.profile(t), b.profile(t), all), rowsOf(t, b.profile(t), a.profile(t), all)
			if all && len(there) == 0 {
				t.Fatalf("seed %d: no rows", seed)
			}
			if got, want := lines(mirrored(back)), lines(there); !slices.Equal(got, want) {
				t.Fatalf("seed %d: there\n%q\nback\n%q", seed, want, got)
			}
		}
	}
}

// mirrored exchanges before and after.
func mirrored(rows []*event.Event) []*event.Event {
	for _, ev := range rows {
		d := ev.GetDifference()
		d.Before, d.After = d.After, d.Before
		d.BeforeSeen, d.AfterSeen = d.AfterSeen, d.BeforeSeen
		switch d.Change {
		case appeared:
			d.Change = vanished
		case vanished:
			d.Change = appeared
		}
	}
	return rows
}

// anyStream makes a stream with some things of each topic.
func anyStream(seed uint64) *stream {
	s := newStreamOf(time.Minute+time.Duration(seed%7)*time.Second, seed)
	r := s.random
	names := []string{"a", "b", "c", "d"}
	some := func(f func(at time.Duration, name string)) {
		for _, name := range names {
			if r.IntN(3) > 0 {
				s.every(r.IntN(100), func(at time.Duration) { f(at, name) })
			}
		}
	}
	some(func(at time.Duration, name string) { s.flow(at, web(), service(name, 80), r.Uint64N(1000)) })
	some(func(at time.Duration, name string) {
		s.outcome(at, service(name, 80), event.TCPOutcome(r.IntN(11)))
	})
	some(func(at time.Duration, name string) {
		s.lookup(at, name+".example.", []string{"NOERROR", "NXDOMAIN", "REFUSED"}[r.IntN(3)], r.Uint64N(5000))
	})
	some(func(at time.Duration, name string) { s.exec(at, "/bin/"+name) })
	some(func(at time.Duration, name string) {
		e := &event.Exec{Phase: event.ExecPhase_EXEC_PHASE_EXIT, Comm: []byte(name), Signal: "SIGSEGV",
			Outcome: event.ExecOutcome(r.IntN(4)), ExitCode: new(uint32)}
		s.add(at, of(&event.Event{Kind: &event.Event_Exec{Exec: e}}))
	})
	some(func(at time.Duration, name string) {
		k := &event.Syscall{Phase: event.SyscallPhase_SYSCALL_PHASE_RETURNED, Name: name, Errno: "ENOENT"}
		s.add(at, of(&event.Event{Kind: &event.Event_Syscall{Syscall: k}}))
	})
	some(func(at time.Duration, name string) {
		k := &event.Signal{Signal: "SIGTERM", Comm: []byte(name)}
		s.add(at, of(&event.Event{Kind: &event.Event_Signal{Signal: k}}))
	})
	packets := uint64(0)
	some(func(at time.Duration, name string) {
		packets++
		d := &event.Drop{Id: name, Reason: name, Packets: packets, Src: web(), Dst: service(name, 80),
			Observed: event.Side_SIDE_SRC, FirstTime: uint64(began.Add(at).UnixNano())}
		s.add(at, of(&event.Event{Kind: &event.Event_Drop{Drop: d}}))
	})
	return s
}
