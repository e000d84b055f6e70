package tui

import (
	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
)

// picker is a short list to choose from, above the page.
type picker struct {
	area
	keys   *keyMap
	title  string
	items  []item
	cursor int
	// opens is the action whose key opened the picker. The same key then selects the next item, or runs repeat if that
	// is not nil: in vi, gg goes to the first row.
	opens  action
	repeat func() tea.Cmd
}

type item struct {
	name, doc string
	choose    func() tea.Cmd
}

// Update moves the cursor, or closes the picker with the chosen item.
func (p *picker) Update(msg tea.KeyPressMsg) (chosen func() tea.Cmd, closed bool) {
	opened := key.Matches(msg, p.keys[p.opens])
	switch a := p.keys.match(msg); {
	case opened && p.repeat != nil:
		return p.repeat, true
	case a == actUp:
		p.cursor = (p.cursor + len(p.items) - 1) % len(p.items)
	case a == actDown || opened:
		p.cursor = (p.cursor + 1) % len(p.items)
	case a == actEnter:
		return p.items[p.cursor].choose, true
	case a == actBack || a == actQuit:
		return nil, true
	}
	return nil, false
}

// View is the list, as far as there is room for it.
func (p *picker) View(style *styles) []string {
	wide := 0
	for _, i := range p.items {
		wide = max(wide, ansi.StringWidth(i.name))
	}
	box := []string{" " + style.title.Render(p.title)}
	room := max(p.height-8, 3)
	from := max(min(p.cursor-room/2, len(p.items)-room), 0)
	for n, i := range p.items[from:min(from+room, len(p.items))] {
		line := cut(" "+fit(i.name, wide, false)+"  "+i.doc+" ", p.width-6)
		if from+n == p.cursor {
			line = style.selected.Render(line)
		}
		box = append(box, line)
	}
	return box
}
