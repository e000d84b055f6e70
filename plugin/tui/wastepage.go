package tui

import (
	"fmt"
	"strings"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/plugin/model"
)

// maxWaste is how many GPUs the page of waste lists.
const maxWaste = 1000

// wasteColumns are the columns of the page.
var wasteColumns = []string{
	"name", "idleMicros", "uses", "memoryUsedBytes", "powerMilliwatts", "usedBy", "allocatedTo", "model",
}

// wasted matches GPUs that a pod holds and that do nothing, and GPUs that a pod uses without having been given them.
func wasted(ev *event.Event) (bool, error) {
	g := ev.GetGpuTop()
	return g.IdleMicros != nil || strings.Contains(g.GetUses(), "unused") ||
		strings.Contains(g.GetUses(), "bypass"), nil
}

// wastePage is the GPUs that are held and do nothing.
type wastePage struct {
	*common
	area
	table  model.Table
	scroll scroller
}

func (p *wastePage) Name() string { return "waste" }

func (p *wastePage) ShortHelp() []key.Binding {
	return p.keys.bindings(actHelp, actNextPage, actWindow, actPause, actQuit)
}

// request asks for those, the longest first.
func (p *wastePage) request(q *question) {
	q.fetch = fetchRows
	q.query = model.Query{
		Group: p.o.Topic.GroupByName("gpu"), Window: p.window, Match: wasted,
		Sort: p.o.Topic.Row.Column("idleMicros"), Descending: true, Limit: maxWaste,
	}
}

func (p *wastePage) drop() { p.table = model.Table{} }

func (p *wastePage) Update(msg tea.Msg) tea.Cmd {
	if a, ok := msg.(answer); ok {
		p.table = a.table
	}
	p.scroll.update(msg, p.height-overlap)
	return nil
}

func (p *wastePage) View() []string {
	t := &p.table
	if t.All == 0 {
		return p.notice(p.style.faint.Render("no GPU has been seen yet"))
	}
	if t.Matching == 0 {
		return p.notice(p.style.good.Render(fmt.Sprintf(
			"none of %s is held and does nothing, as far as is known", plural.Count(t.All, "GPU"),
		)))
	}
	layout := place(p.o.Topic.Row.Named(wasteColumns), p.width)
	out := []string{p.style.warn.Render(cut(wasteTitle(t), p.width)), "", p.headers(layout, "", nil)}
	from, to := p.scroll.visible(len(t.Rows), max(p.height-len(out)-1, 1))
	for _, r := range t.Rows[from:to] {
		out = append(out, p.line(layout, r, false, p.width))
	}
	if below := t.Matching - to; below > 0 {
		out = append(out, p.style.faint.Render(fmt.Sprintf("and %d more", below)))
	}
	return filled(out, p.height)
}

// wasteTitle sums up the rows.
func wasteTitle(t *model.Table) string {
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
	return head
}
