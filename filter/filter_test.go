package filter

import (
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/orb8-dev/kubectl-orb8/event"
)

func flowKind() []*event.Kind { return []*event.Kind{event.KindByName("flow")} }

// joined is a TCP flow between two pods; outside a UDP flow whose dst is not known.
func joined() *event.Event {
	return &event.Event{Time: 1_700_000_000e9, Node: "a", Kind: &event.Event_Flow{Flow: &event.Flow{
		Protocol: event.Protocol_PROTOCOL_TCP, Phase: event.Phase_PHASE_UPDATE,
		Src: &event.Endpoint{Pod: "web", Namespace: "demo", Address: []byte{10, 0, 0, 1}, Port: 4000,
			Comm: "curl"},
		Dst:         &event.Endpoint{Pod: "db", Namespace: "demo", Address: []byte{10, 0, 1, 1}, Port: 5432},
		SrcCounters: &event.Counters{BytesSent: 2000, Retransmits: proto.Uint64(0), SrttMicros: proto.Uint32(900)},
	}}}
}

func outside() *event.Event {
	return &event.Event{Time: 1, Node: "a", Kind: &event.Event_Flow{Flow: &event.Flow{
		Protocol:    event.Protocol_PROTOCOL_UDP,
		Src:         &event.Endpoint{Pod: "web", Address: []byte{10, 0, 0, 1}, Port: 4000},
		Dst:         &event.Endpoint{Address: []byte{1, 1, 1, 1}, Port: 53},
		SrcCounters: &event.Counters{BytesSent: 0},
	}}}
}

func lost() *event.Event {
	return &event.Event{Node: "a", Kind: &event.Event_Lost{Lost: &event.Lost{
		Count: 3, Stage: event.LossStage_LOSS_STAGE_QUEUE,
	}}}
}

func TestMatch(t *testing.T) {
	for expr, want := range map[string][2]bool{ // joined, outside
		``: {true, true},
		`src.pod == "web" && bytesSent > 1000 && protocol == "tcp"`: {true, false},
		`protocol in ["udp", "icmp"]`:                               {false, true},
		`bytesSent == 0`:                                            {false, true},
		`dst.address == "1.1.1.1" && dst.port == 53`:                {false, true},
		`cidr("10.0.0.0/8").containsIP(dst.address)`:                {true, false},
		`src.comm.startsWith("cu")`:                                 {true, false},
		`src.pod.matches("^w.b$")`:                                  {true, true},
		`time > timestamp("2023-01-01T00:00:00Z")`:                  {true, false},
		`["web", "api"].exists(p, p == src.pod)`:                    {true, true},
		`kind == "flow"`:                                            {true, true},
		`bytesSent / 2 >= 1000`:                                     {true, false},
		`src.port + 53 == dst.port + 4000`:                          {false, true},

		// A null equals null only.
		`dst.pod == null`:  {false, true},
		`dst.pod != null`:  {true, false},
		`has(dst.pod)`:     {true, false},
		`!has(dst.pod)`:    {false, true},
		`dst.pod == "db"`:  {true, false},
		`dst.pod != "x"`:   {true, true},
		`retransmits == 0`: {true, false},

		// Every other use of it is undecided, negated or not.
		`srttMicros < 1000`:                        {true, false},
		`!(srttMicros < 1000)`:                     {false, false},
		`srttMicros >= 1000`:                       {false, false},
		`srttMicros >= 1000 || dst.port == 53`:     {false, true},
		`dst.port == 53 || srttMicros >= 1000`:     {false, true},
		`srttMicros < 1000 && dst.port == 5432`:    {true, false},
		`!(srttMicros < 1000 && dst.port == 5432)`: {false, true},
		`dst.pod.startsWith("d")`:                  {true, false},
		`!dst.pod.startsWith("d")`:                 {false, false},
		`retransmits + 1 > 0`:                      {true, false},
		`dst.pod in ["db", "x"]`:                   {true, false},
		`srttMicros < 1000 ? true : false`:         {true, false},
	} {
		t.Run(expr, func(t *testing.T) {
			f, err := Compile(expr, flowKind())
			if err != nil {
				t.Fatal(err)
			}
			for i, ev := range []*event.Event{joined(), outside()} {
				got, err := f.Match(ev)
				if err != nil {
					t.Fatal(err)
				}
				if got != want[i] {
					t.Errorf("event %d: got %v, want %v", i, got, want[i])
				}
			}
			if got, err := f.Match(lost()); !got || err != nil {
				t.Errorf("an event of another kind gives %v, %v, want a match", got, err)
			}
		})
	}
}

func TestMatch_MissingFieldsAreNull(t *testing.T) {
	f, err := Compile(`count > 1 || protocol == "udp"`, event.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{false, true, true} {
		ev := []*event.Event{joined(), outside(), lost()}[i]
		if got, err := f.Match(ev); got != want || err != nil {
			t.Errorf("event %d: got %v, %v, want %v", i, got, err, want)
		}
	}
}

func TestCompile_ErrorsPointAtThePlace(t *testing.T) {
	for expr, want := range map[string]struct {
		line, column int
		message      string
	}{
		`src.pdo == "web"`: {1, 1,
			`unknown field "src.pdo", did you mean "src.pod"? known fields: schemaVersion, kind`},
		`bytesSent > 1 && pod_name == "x"`: {1, 18, `unknown field "pod_name"`},
		`bytessent > 1`:                    {1, 1, `did you mean "bytesSent"?`},
		`src.pod.name == "x"`:              {1, 1, `unknown field "src.pod.name"`},
		`[1].exists(x, y == x)`:            {1, 15, `unknown field "y"`},
		`has(src.pdo)`:                     {1, 5, `unknown field "src.pdo"`},
		`src == dst`: {1, 1,
			`src is an object, use one of its fields: src.namespace, src.pod`},
		`protocol == "TCP"`: {1, 13,
			`protocol is never "TCP", it is one of: tcp, udp, icmp, icmpv6, raw`},
		`"new" == phase || phase in ["up"]`:      {1, 29, `phase is never "up"`},
		`src.pod == `:                            {1, 12, `mismatched input '<EOF>'`},
		"bytesSent > 1 &&\n  protocol = \"tcp\"": {2, 12, `token recognition error`},
		`bytesSent > "many"`: {1, 11,
			`found no matching overload for '>' applied to '(int, string)'`},
		`bytesSent`:        {1, 1, `this gives a value of type int, want true or false`},
		`pod`:              {1, 1, `this gives a value of type string`},
		`nosuch(1)`:        {1, 7, `undeclared reference to 'nosuch'`},
		`pod.matches("(")`: {1, 13, `missing closing )`},
		`日本 == "x"`:        {1, 1, `token recognition error`},
	} {
		t.Run(expr, func(t *testing.T) {
			_, err := Compile(expr, flowKind())
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want an *Error", err)
			}
			if e.Line != want.line || e.Column != want.column || !strings.Contains(e.Message, want.message) {
				t.Errorf("got %d:%d %s\nwant %d:%d … %s …", e.Line, e.Column, e.Message, want.line, want.column,
					want.message)
			}
		})
	}
}

func TestError_ShowsCaretUnderThePlace(t *testing.T) {
	_, err := Compile("bytesSent > 1 &&\n\tpdo == \"x\"", flowKind())
	const want = "\n   pdo == \"x\"\n   ^"
	if err == nil || !strings.HasSuffix(err.Error(), want) ||
		!strings.HasPrefix(err.Error(), "filter at 2:2: unknown field") {
		t.Errorf("got\n%v\nwant at its end%s", err, want)
	}
}

func TestCompile_RefusesHugeExpressions(t *testing.T) {
	for name, expr := range map[string]string{
		"long":  "bytesSent > 1 " + strings.Repeat("&& bytesSent > 1 ", 1000),
		"deep":  strings.Repeat("(", 500) + "true" + strings.Repeat(")", 500),
		"regex": `pod.matches("((((a{100}){100}){100})")`,
	} {
		if _, err := Compile(expr, flowKind()); err == nil {
			t.Errorf("a %s expression compiles", name)
		}
	}
}

func TestMatch_CostLimitIsAnError(t *testing.T) {
	list := "[" + strings.Repeat("1,", 99) + "1]"
	expr := list + ".all(a, " + list + ".all(b, " + list + ".all(c, " + list + ".all(d, a + b + c + d > 0))))"
	f, err := Compile(expr, flowKind())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := f.Match(joined()); got || err == nil {
		t.Errorf("got %v, %v, want an error", got, err)
	}
	f, err = Compile("1 / (bytesSent - 2000) == 1", flowKind())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := f.Match(joined()); got || err == nil {
		t.Errorf("dividing by zero gives %v, %v", got, err)
	}
}

func BenchmarkMatch(b *testing.B) {
	f, err := Compile(`src.pod == "web" && bytesSent > 1000 && protocol == "tcp"`, flowKind())
	if err != nil {
		b.Fatal(err)
	}
	ev := joined()
	b.ReportAllocs()
	for b.Loop() {
		if ok, err := f.Match(ev); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func FuzzCompile(f *testing.F) {
	for _, expr := range []string{`src.pod == "web" && bytesSent > 1`, `has(dst.pod)`, `[1].all(x, x > y)`,
		`{"a": src}`, `a.b.c()`} {
		f.Add(expr)
	}
	ev := joined()
	f.Fuzz(func(t *testing.T, expr string) {
		watch := time.AfterFunc(5*time.Second, func() { panic("takes too long: " + expr) })
		defer watch.Stop()
		filter, err := Compile(expr, flowKind())
		if err != nil {
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%q: %v is no *Error", expr, err)
			}
			_ = err.Error()
			return
		}
		_, _ = filter.Match(ev)
	})
}

func TestMatch_BooleanFields(t *testing.T) {
	crashed := func(core *bool) *event.Event {
		return &event.Event{Kind: &event.Event_Exec{Exec: &event.Exec{CoreDumped: core}}}
	}
	for expr, want := range map[string][3]bool{ // true, false, null
		`coreDumped`:          {true, false, false},
		`!coreDumped`:         {false, true, false},
		`coreDumped == null`:  {false, false, true},
		`coreDumped != false`: {true, false, true},
	} {
		f, err := Compile(expr, []*event.Kind{event.KindByName("exec")})
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		for i, core := range []*bool{proto.Bool(true), proto.Bool(false), nil} {
			if got, err := f.Match(crashed(core)); err != nil || got != want[i] {
				t.Errorf("%s of event %d is %v, %v", expr, i, got, err)
			}
		}
	}
}
