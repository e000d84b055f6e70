package diff

import (
	"fmt"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// rowsOf compares two profiles.
func rowsOf(t testing.TB, before, after *Profile, all bool) (rows []*event.Event) {
	t.Helper()
	if _, err := Compare(before, after, all, func(ev *event.Event) error {
		rows = append(rows, ev)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return rows
}

// lines are the rows in words.
func lines(rows []*event.Event) (all []string) {
	for _, ev := range rows {
		d := ev.GetDifference()
		what := d.GetTopic().Word()
		if d.GetName() != "" {
			what += " " + d.GetName()
		}
		line := fmt.Sprintf("%s %s: %s %.4g -> %.4g", d.GetChange().Word(), what, d.GetMeasure().Word(), d.GetBefore(),
			d.GetAfter())
		if d.GetCertainty() != certain {
			line += " " + d.GetCertainty().Word()
		}
		all = append(all, line)
	}
	return all
}
