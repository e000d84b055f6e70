package render

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/event"
)

func TestCSVIsExactAndHarmless(t *testing.T) {
	kind := event.KindByName("dns")
	var out, notices bytes.Buffer
	p, err := New(Options{Out: &out, Notices: &notices, Output: "csv", Kinds: []*event.Kind{kind}})
	if err != nil {
		t.Fatal(err)
	}
	micros := uint64(1_234_567)
	names := []string{"a,b\"c\n", "=HYPERLINK(1)", "-1", "@x", "plain"}
	for _, name := range names {
		if err := p.Print(&event.Event{Pod: "web", Kind: &event.Event_Dns{Dns: &event.Dns{Name: name, LatencyMicros: &micros}}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Print(&event.Event{Node: "n1", Kind: &event.Event_Lost{Lost: &event.Lost{Count: 3}}}); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) != 1+len(names) {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	at := func(row int, column string) string {
		for i, name := range rows[0] {
			if name == column {
				return rows[row][i]
			}
		}
		t.Fatalf("there is no column %q", column)
		return ""
	}
	for i, want := range []string{"a,b\"c\n", "'=HYPERLINK(1)", "'-1", "'@x", "plain"} {
		if got := at(i+1, "name"); got != want {
			t.Errorf("%q is written as %q, want %q", names[i], got, want)
		}
	}
	if at(1, "latencyMicros") != "1234567" || at(1, "node") != "" || at(1, "pod") != "web" {
		t.Errorf("%q", rows[1])
	}
	if !strings.Contains(notices.String(), "n1") {
		t.Errorf("the loss is not told: %q", notices.String())
	}
	if _, err := New(Options{Out: &out, Output: "csv", Kinds: []*event.Kind{kind, event.KindByName("flow")}}); err == nil || !strings.Contains(err.Error(), "json") {
		t.Errorf("two kinds: %v", err)
	}
}
