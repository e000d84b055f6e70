package event

import (
	"slices"
	"testing"
)

func TestReasonsAreExplained(t *testing.T) {
	for reason, r := range dropReasons {
		if !slices.Contains(dropCauses, r.cause) || r.words == "" {
			t.Errorf("%s: %+v", reason, r)
		}
	}
	for reason, want := range map[string]dropReason{
		"NETFILTER_DROP": {"policy", dropReasons["NETFILTER_DROP"].words},
		"FOO_CSUM":       {"checksum", "foo csum"},
		"QDISC_NEW_ONE":  {"queue", "qdisc new one"},
		"TCP_ODD":        {"protocol", "tcp odd"},
		"4711":           {"other", "4711"},
		"":               {"", ""},
	} {
		if got := (dropReason{causeOf(reason), wordsOf(reason)}); got != want {
			t.Errorf("%q is %+v, want %+v", reason, got, want)
		}
	}
}

// A filter or --sort-by over several kinds finds one type under one name.
func TestColumnsOfOneNameHaveOneType(t *testing.T) {
	types := map[string]Type{}
	for _, k := range kinds {
		for i := range k.Columns {
			c := &k.Columns[i]
			if c.Outputs&InJSON == 0 {
				continue
			}
			typ := c.Type
			if typ == Enum {
				typ = Text // of few words
			}
			if before, ok := types[c.Name]; ok && before != typ {
				t.Errorf("%s.%s has the type %d, in another kind %d", k.Name, c.Name, typ, before)
			}
			types[c.Name] = typ
		}
	}
}
