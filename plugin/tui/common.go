package tui

import (
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/plugin/model"
)

// common is the state that all pages share.
type common struct {
	o     Options
	keys  keyMap
	style styles

	window time.Duration
	sort   *event.Column
	// descending sorts the largest first.
	descending bool
	paused     bool
	filter     filterInput

	// status is that of the newest answer, and asOf the time that it is of.
	status model.Status
	asOf   time.Time
	notes  []string

	// message is the newest note or the result of a key, for messageTime or until the next key.
	message   string
	messageAt time.Time

	// refresh queries the active page's rows; open activates another page.
	refresh func() tea.Cmd
	open    func(page) tea.Cmd
}

// messageTime is how long a message is shown.
const messageTime = 6 * time.Second

// pausedMessage is the answer to a key that needs new rows.
const pausedMessage = "paused: space goes on"

func (c *common) show(message string) { c.message, c.messageAt = message, c.o.Now() }

// view shortens names in the screen's namespace.
func (c *common) view() *event.View { return &event.View{Namespace: c.o.Namespace} }

func (c *common) cell(column *event.Column, ev *event.Event) string {
	return cell(column, ev, c.view())
}

func (c *common) name(ev *event.Event) string { return c.cell(c.o.Topic.Row.Column("name"), ev) }

// sortBy sorts by a column: amounts from the largest, names from the first. A second time it reverses the order.
func (c *common) sortBy(column *event.Column) tea.Cmd {
	if column == c.sort {
		c.descending = !c.descending
	} else {
		c.sort, c.descending = column, column.Right()
	}
	return c.refresh()
}

func (c *common) nextWindow() {
	windows := model.Windows()
	next := slices.Index(windows, c.window) + 1 // 0 for one that is not in the list
	c.window = windows[next%len(windows)]
}
