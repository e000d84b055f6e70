package render

import (
	"bytes"
	"encoding/csv"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
)

func TestCSV_IsExactAndEscaped(t *testing.T) {
	kind := event.KindByName("dns")
	var out, notices bytes.Buffer
	p, err := New(Options{Out: &out, Notices: &notices, Output: "csv", Kinds: []*event.Kind{kind}})
	if err != nil {
		t.Fatal(err)
	}
	micros := uint64(1_234_567)
	names := []string{"a,b\"c\n", "=HYPERLINK(1)", "-1", "@x", "plain"}
	for _, name := range names {
		if err := p.Print(&event.Event{Pod: "web",
			Kind: &event.Event_Dns{Dns: &event.Dns{Name: name, LatencyMicros: &micros}}}); err != nil {
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
	for i, want := range []string{`a,b"c\n`, "'=HYPERLINK(1)", "'-1", "'@x", "plain"} {
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
	if _, err := New(Options{Out: &out, Output: "csv",
		Kinds: []*event.Kind{kind, event.KindByName("flow")}}); err == nil || !strings.Contains(err.Error(), "json") {
		t.Errorf("two kinds: %v", err)
	}
}

// hostileTexts are texts that a terminal or a spreadsheet must not get as they are.
var hostileTexts = []string{
	"\x1b[2J", "a\u202eb", "\n=1+1", "\t=1", "\r@x", "=1+1", "+1", "-1", "@SUM(A1)", "＝1+1", "＋1", "－1", "＠x", "  =1+1",
	"\u200b=1", "\xff\x9b0m",
}

// TestCSV_HostileTextOfEveryKind fills every text of an event of each kind, and fuzzing does the same with any text.
func TestCSV_HostileTextOfEveryKind(t *testing.T) {
	for _, kind := range event.Kinds() {
		t.Run(kind.Name, func(t *testing.T) {
			for _, text := range hostileTexts {
				checkCSV(t, kind, text)
			}
		})
	}
}

func FuzzCSV(f *testing.F) {
	for i, text := range hostileTexts {
		f.Add(uint8(i), text)
	}
	f.Fuzz(func(t *testing.T, kind uint8, text string) {
		checkCSV(t, event.Kinds()[int(kind)%len(event.Kinds())], text)
	})
}

// checkCSV prints an event of a kind in which every text is this one, and reads it back.
func checkCSV(t *testing.T, kind *event.Kind, text string) {
	t.Helper()
	var out bytes.Buffer
	p, err := New(Options{Out: &out, Notices: io.Discard, Output: "csv", Kinds: []*event.Kind{kind}, NoHeaders: true})
	if err != nil {
		t.Fatal(err)
	}
	ev := filled(kind.Name, text)
	if kind != event.KindOf(ev) {
		t.Fatalf("made an event of another kind than %s", kind.Name)
	}
	if err := p.Print(ev); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if printed := strings.TrimSuffix(out.String(), "\n"); safe.Text(printed) != printed {
		t.Errorf("%q gets to the terminal as %q", text, printed)
	}
	if kind.Name == "lost" || kind.Name == "nodeStatus" { // notices, not rows
		return
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	i := -1
	for j := range kind.Columns {
		c := &kind.Columns[j]
		if c.Outputs&event.InJSON == 0 {
			continue
		}
		i++
		if field := strings.TrimLeft(rows[0][i], " "); c.Get(ev).Kind() == event.StringValue && field != "" {
			if first, _ := utf8.DecodeRuneInString(field); strings.ContainsRune("=+-@\t\r\n＝＋－＠", first) {
				t.Errorf("column %s: %q is written as the formula %q", c.Name, text, rows[0][i])
			}
		}
	}
}

// filled is an event of a kind in which every text is the given one.
func filled(kind, text string) *event.Event {
	ev := &event.Event{Time: base}
	m := ev.ProtoReflect()
	fillTexts(m, text, func(f protoreflect.FieldDescriptor) bool {
		return f.ContainingOneof() == nil ||
			f.JSONName() == kind
	})
	return ev
}

func fillTexts(m protoreflect.Message, text string, wanted func(protoreflect.FieldDescriptor) bool) {
	for i := range m.Descriptor().Fields().Len() {
		f := m.Descriptor().Fields().Get(i)
		switch {
		case !wanted(f) || f.IsList():
		case f.Kind() == protoreflect.MessageKind:
			fillTexts(m.Mutable(f).Message(), text, func(protoreflect.FieldDescriptor) bool { return true })
		case f.Kind() == protoreflect.StringKind:
			m.Set(f, protoreflect.ValueOfString(text))
		case f.Kind() == protoreflect.BytesKind:
			m.Set(f, protoreflect.ValueOfBytes([]byte(text)))
		case f.Kind() == protoreflect.EnumKind:
			m.Set(f, protoreflect.ValueOfEnum(1))
		}
	}
}
