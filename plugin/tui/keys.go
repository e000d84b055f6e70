package tui

import (
	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"
)

// action is what a key does.
type action int

const (
	noAction action = iota
	actUp
	actDown
	actPageUp
	actPageDown
	actFirst
	actLast
	actEnter
	actBack
	actNextPage
	actPreviousPage
	actPage1
	actPage2
	actPage3
	actPage4
	actFilter
	actSort
	actSortLeft
	actSortRight
	actReverse
	actRising
	actFalling
	actGroup
	actWindow
	actPause
	actCopy
	actExport
	actHelp
	actQuit
	actInterrupt
	actionCount
)

// keyMap is the keys of all pages, by action. The help is made of it.
type keyMap [actionCount]key.Binding

func newKeyMap() (m keyMap) {
	for _, k := range []struct {
		action     action
		help, does string
		keys       []string
	}{
		{actUp, "↑/k", "up", []string{"up", "k"}},
		{actDown, "↓/j", "down", []string{"down", "j"}},
		{actPageUp, "pgup/^u", "page up", []string{"pgup", "ctrl+u", "ctrl+b"}},
		{actPageDown, "pgdn/^d", "page down", []string{"pgdown", "ctrl+d", "ctrl+f"}},
		{actFirst, "home/gg", "first", []string{"home"}},
		{actLast, "end/G", "last", []string{"end", "G"}},
		{actEnter, "enter/l", "go into", []string{"enter", "l", "right"}},
		{actBack, "esc/h", "back", []string{"esc", "h", "left", "backspace"}},
		{actNextPage, "tab", "next page", []string{"tab"}},
		{actPreviousPage, "shift+tab", "previous page", []string{"shift+tab"}},
		{actPage1, "1", "overview", []string{"1"}},
		{actPage2, "2", "table", []string{"2"}},
		{actPage3, "3", "detail", []string{"3"}},
		{actPage4, "4", "graph or waste", []string{"4"}},
		{actFilter, "/", "filter", []string{"/", "f4"}},
		{actSort, "s", "sort by", []string{"s", "f6"}},
		// As in nvtop, nvitop and htop, besides the arrows, /, F4, F6 and F10.
		{actSortLeft, "<", "sort by the column before", []string{"<", ","}},
		{actSortRight, ">", "sort by the next column", []string{">", "."}},
		{actReverse, "r", "reverse", []string{"r", "S"}},
		{actRising, "+", "smallest first", []string{"+"}},
		{actFalling, "-", "largest first", []string{"-"}},
		{actGroup, "g", "group by", []string{"g"}},
		{actWindow, "t", "time window", []string{"t"}},
		{actPause, "space", "pause", []string{"space"}},
		{actCopy, "y", "copy as JSON", []string{"y"}},
		{actExport, "e", "export", []string{"e"}},
		{actHelp, "?", "help", []string{"?", "f1"}},
		{actQuit, "q", "quit", []string{"q", "f10"}},
		{actInterrupt, "^c", "quit", []string{"ctrl+c"}},
	} {
		m[k.action] = key.NewBinding(key.WithKeys(k.keys...), key.WithHelp(k.help, k.does))
	}
	return m
}

// match is the action of a key.
func (m *keyMap) match(msg tea.KeyPressMsg) action {
	for a := noAction + 1; a < actionCount; a++ {
		if key.Matches(msg, m[a]) {
			return a
		}
	}
	return noAction
}

// bindings are those of actions, for a line of help.
func (m *keyMap) bindings(actions ...action) (list []key.Binding) {
	for _, a := range actions {
		list = append(list, m[a])
	}
	return list
}

// FullHelp is the columns of the help.
func (m *keyMap) FullHelp() [][]key.Binding {
	return [][]key.Binding{
		m.bindings(actUp, actDown, actPageUp, actPageDown, actFirst, actLast),
		m.bindings(actEnter, actBack, actNextPage, actPreviousPage, actPage1, actPage2, actPage3, actPage4),
		m.bindings(actFilter, actSort, actSortLeft, actSortRight, actReverse, actRising, actFalling, actGroup),
		m.bindings(actWindow, actPause, actCopy, actExport, actHelp, actQuit, actInterrupt),
	}
}
