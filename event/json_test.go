package event_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/eventtest"
)

// TestAppendJSON_IsItsColumns compares lines with the values of the columns, for events of all kinds with ordinary and
// with extreme values.
func TestAppendJSON_IsItsColumns(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	kinds := map[string]int{}
	for range 20 {
		in := make([]byte, 2000)
		for i := range in {
			in[i] = byte(r.Uint32())
		}
		for _, ev := range eventtest.Events(in, time.Unix(1764000000, 0)) {
			if event.KindOf(ev) == nil {
				continue
			}
			if got, want := string(event.AppendJSON(nil, ev)), columnsJSON(ev); got != want {
				t.Fatalf("got  %s\nwant %s", got, want)
			}
			kinds[event.KindOf(ev).Name]++
		}
	}
	for _, k := range event.Kinds() {
		if kinds[k.Name] < 30 {
			t.Errorf("%d events of kind %s", kinds[k.Name], k.Name)
		}
	}
}

// columnsJSON is an event in JSON, one column after the other.
func columnsJSON(ev *event.Event) string {
	var b strings.Builder
	b.WriteByte('{')
	var object, comma string
	for _, c := range event.KindOf(ev).Columns {
		if c.Outputs&event.InJSON == 0 {
			continue
		}
		in, key, nested := strings.Cut(c.Name, ".")
		if !nested {
			in, key = "", c.Name
		}
		if in != object {
			if object != "" {
				b.WriteByte('}')
				comma = ","
			}
			if in != "" {
				b.WriteString(comma + `"` + in + `":{`)
				comma = ""
			}
			object = in
		}
		b.WriteString(comma + `"` + key + `":`)
		b.Write(c.Get(ev).AppendJSON(nil))
		comma = ","
	}
	if object != "" {
		b.WriteByte('}')
	}
	b.WriteByte('}')
	return b.String()
}

// TestColumns_OfNegativeNumbersAreSigned: the schema gives the others a minimum of 0.
func TestColumns_OfNegativeNumbersAreSigned(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	signed := map[string]bool{}
	for range 20 {
		in := make([]byte, 2000)
		for i := range in {
			in[i] = byte(r.Uint32())
		}
		for _, ev := range eventtest.Events(in, time.Unix(1764000000, 0)) {
			kind := event.KindOf(ev)
			if kind == nil {
				continue
			}
			for _, c := range kind.Columns {
				if c.Get == nil || c.Get(ev).Kind() != event.IntValue {
					continue
				}
				signed[kind.Name+"."+c.Name] = true
				if c.Type != event.Signed {
					t.Errorf("column %s of %s may be negative, and its type says that it is not", c.Name, kind.Name)
				}
			}
		}
	}
	if !signed["signal.code"] || !signed["syscall.result"] {
		t.Errorf("columns with negative numbers: %v", signed)
	}
}
