package event

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
)

// groupedFlow is a flow with a value in each field that flows can be aggregated by.
func groupedFlow() *Event {
	word := uint32(1)
	end := func(name string) *Endpoint {
		return &Endpoint{Namespace: name, Pod: name, Container: name, Workload: name, Service: name,
			ServiceNamespace: name, ServiceAddress: []byte{1, 2, 3, 4}, ServicePort: 80, Node: name, Host: name,
			ServiceNote: ServiceNote_SERVICE_NOTE_INFERRED, Address: []byte{5, 6, 7, 8}, Port: 8080, Pid: 7, Comm: name,
			Redacted: true}
	}
	return &Event{Time: 1, Node: "n", Namespace: "ns", Pod: "p", Container: "c", Kind: &Event_Flow{Flow: &Flow{Id: "1",
		Protocol: Protocol_PROTOCOL_ICMP, Phase: Phase_PHASE_CLOSED, State: TCPState_TCP_STATE_CLOSE,
		Observed: Side_SIDE_DST, IcmpType: &word, IcmpCode: &word, Src: end("src"), Dst: end("dst"),
		SrcCounters: &Counters{BytesSent: 1}}}}
}

func TestGrouping_RowsHaveTheValuesOfFlows(t *testing.T) {
	ev := groupedFlow()
	sums := KindByName("flowSum")
	for _, name := range GroupFields() {
		g, err := NewGrouping([]string{name})
		if err != nil {
			t.Fatal(err)
		}
		row := g.Row(ev)
		want := KindByName("flow").Column(name).Get(ev)
		if want.IsNull() {
			t.Errorf("%s: the test's flow has no value", name)
		}
		for i := range sums.Columns {
			c := &sums.Columns[i]
			switch got := c.Get(row); {
			case c.Name == name && got != want:
				t.Errorf("%s: the row has %v, the flow %v", name, got, want)
			case c.Name != name && groupFields[c.Name] != nil && !got.IsNull():
				t.Errorf("by %s: the row has %s %v", name, c.Name, got)
			}
		}
	}
	// The other fields of a flow are amounts, times and identities.
	for i := range flowKind.Columns {
		c := &flowKind.Columns[i]
		amount := c.Right() || c.Type == Timestamp || slices.Contains([]string{"schemaVersion", "kind", "id"}, c.Name)
		if c.Outputs&InJSON != 0 && amount == (groupFields[c.Name] != nil) {
			t.Errorf("%s: is it a field to aggregate by?", c.Name)
		}
	}
}

func TestGrouping_KeepsWithheldFromUnknown(t *testing.T) {
	end := func(pod string, redacted bool) *Event {
		return &Event{Kind: &Event_Flow{Flow: &Flow{Dst: &Endpoint{Pod: pod, Port: 80, Redacted: redacted}}}}
	}
	for name, c := range map[string]struct {
		by   []string
		a, b *Event
		same bool
	}{
		"unknown and withheld":         {[]string{"dst.pod"}, end("", false), end("", true), false},
		"both withheld":                {[]string{"dst.pod"}, end("", true), end("", true), true},
		"a port is not withheld":       {[]string{"dst.port"}, end("", false), end("", true), true},
		"only the Service is withheld": {[]string{"dst.pod"}, end("web", false), end("web", true), true},
		"by what is withheld":          {[]string{"dst.redacted"}, end("web", false), end("web", true), false},
		"the other end":                {[]string{"src.pod"}, end("", false), end("", true), true},
	} {
		g, err := NewGrouping(c.by)
		if err != nil {
			t.Fatal(err)
		}
		if same := g.Key(c.a) == g.Key(c.b); same != c.same {
			t.Errorf("%s: same group: %v", name, same)
		}
		if same := proto.Equal(g.Row(c.a), g.Row(c.b)); same != c.same {
			t.Errorf("%s: same row: %v", name, same)
		}
	}
}

func TestGrouping_ShowsWhatItIsNot(t *testing.T) {
	g, err := NewGrouping([]string{"dst.pod"})
	if err != nil {
		t.Fatal(err)
	}
	column := KindByName("flowSum").Column("dst.pod")
	cell := func(row *Event) string { return string(column.AppendCell(nil, row, &View{})) }
	flow := func(e *Endpoint) *Event { return &Event{Kind: &Event_Flow{Flow: &Flow{Dst: e}}} }
	for want, row := range map[string]*Event{
		"web":        g.Row(flow(&Endpoint{Pod: "web"})),
		"n/a":        g.Row(flow(&Endpoint{})),
		"(redacted)": g.Row(flow(&Endpoint{Redacted: true})),
		"others":     g.Others(),
	} {
		if got := cell(row); got != want {
			t.Errorf("shows %q, want %q", got, want)
		}
	}
}

func TestNewGrouping_Refuses(t *testing.T) {
	for want, names := range map[string][]string{
		`unknown field "dst.prt", did you mean "dst.port"?`: {"src.pod", "dst.prt"},
		`unknown field "bytesSent"`:                         {"bytesSent"},
		`unknown field ""`:                                  {""},
		`field "node" is named twice`:                       {"node", "pod", "node"},
		`0 fields, want 1 to 8`:                             {},
		`9 fields, want 1 to 8`:                             GroupFields()[:9],
	} {
		_, err := NewGrouping(names)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", names, err, want)
		}
		var unknown *UnknownColumnError
		if errors.As(err, &unknown) && !slices.Equal(unknown.Known, GroupFields()) {
			t.Errorf("%q: the error does not list the fields: %v", names, err)
		}
	}
}
