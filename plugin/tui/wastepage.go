package tui

import (
	"fmt"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/plugin/model"
)

// maxWaste is how many GPUs the page of waste lists.
const maxWaste = 1000

// wasteColumns are what it tells of each.
var wasteColumns = []string{
	"name", "idleMicros", "uses", "memoryUsedBytes", "powerMilliwatts", "usedBy", "allocatedTo", "model",
}

// wasted tells a GPU that somebody holds and that does nothing, or that somebody uses who was not given it.
func wasted(ev *event.Event) (bool, error) {
	g := ev.GetGpuTop()
	return g.IdleMicros != nil || strings.Contains(g.GetUses(), "unused") ||
		strings.Contains(g.GetUses(), "bypass"), nil
}

// wasteQuery asks for those, the longest first.
func (s *screen) wasteQuery() model.Query {
	return model.Query{
		Group: s.o.Topic.GroupByName("gpu"), Window: s.window, Match: wasted, Sort: s.o.Topic.Row.Column("idleMicros"),
		Descending: true, Limit: maxWaste,
	}
}

// wastePage lists GPUs that are held for nothing.
func (s *screen) wastePage(height int) []string {
	t := &s.answer.waste
	if s.answer.question.page != pageWaste || t.All == 0 {
		return filled([]string{"", "  " + s.style.faint.Render("no GPU has been seen yet")}, height)
	}
	if t.Matching == 0 {
		return filled([]string{
			"",
			"  " + s.style.good.Render(fmt.Sprintf(
				"none of %s is held and does nothing, as far as is known", plural.Count(t.All, "GPU"),
			)),
		}, height)
	}
	var idle, strangers int
	var held, drawn uint64
	var heldKnown, drawnKnown bool
	for _, r := range t.Rows {
		g := r.Event.GetGpuTop()
		if strings.Contains(g.GetUses(), "bypass") {
			strangers++
		}
		if g.IdleMicros == nil {
			continue
		}
		idle++
		held, heldKnown = held+g.GetMemoryUsedBytes(), heldKnown || g.MemoryUsedBytes != nil
		drawn, drawnKnown = drawn+g.GetPowerMilliwatts(), drawnKnown || g.PowerMilliwatts != nil
	}
	head := fmt.Sprintf("%d of %s are held and do nothing", idle, plural.Count(t.All, "GPU"))
	if idle == 1 {
		head = fmt.Sprintf("1 of %s is held and does nothing", plural.Count(t.All, "GPU"))
	}
	if heldKnown {
		head += fmt.Sprintf(": %s of memory in use", event.AppendBytes(nil, held))
	}
	if drawnKnown {
		head += fmt.Sprintf(", %d W", (drawn+500)/1000)
	}
	if strangers > 0 {
		head += fmt.Sprintf("; %d used by who was not given them", strangers)
	}
	layout := s.place(s.o.Topic.Row.Named(wasteColumns))
	out := []string{s.style.warn.Render(cut(head, s.width)), "", s.headers(layout, "", nil)}
	room := max(height-len(out)-1, 1)
	s.scroll = max(min(s.scroll, len(t.Rows)-room), 0)
	for _, r := range t.Rows[s.scroll:min(s.scroll+room, len(t.Rows))] {
		out = append(out, s.line(layout, r, false))
	}
	if below := t.Matching - min(s.scroll+room, len(t.Rows)); below > 0 {
		out = append(out, s.style.faint.Render(fmt.Sprintf("and %d more", below)))
	}
	return filled(out, height)
}
