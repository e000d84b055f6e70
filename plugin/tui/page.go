package tui

import (
	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"
)

// page is one page of the screen: a model with keys and a size.
type page interface {
	// Name is the word of its tab.
	Name() string
	// ShortHelp is the keys of the last line.
	ShortHelp() []key.Binding
	// SetSize sets the size that View fills.
	SetSize(width, height int)
	// Update takes an action, an answer to its request, or a mouse event. It ignores what it has no use for.
	Update(msg tea.Msg) tea.Cmd
	// View is exactly as many lines as there is room for.
	View() []string

	// request fills in the page's query.
	request(q *question)
	// drop forgets the answer: another page shows a newer one.
	drop()
}

// area is the room of a page or component.
type area struct{ width, height int }

func (a *area) SetSize(width, height int) { a.width, a.height = width, height }

// notice shows a sentence in an otherwise empty area.
func (a *area) notice(text string) []string { return filled([]string{"", "  " + text}, a.height) }
