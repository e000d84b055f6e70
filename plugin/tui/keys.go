package tui

import "charm.land/bubbles/v2/key"

// keyMap is what keys do: the help is made of it.
type keyMap struct {
	up, down, pageUp, pageDown, first, last key.Binding
	enter, back, next, previous             key.Binding
	page                                    [4]key.Binding
	filter, sort, reverse, group, window    key.Binding
	falling, rising, left, right            key.Binding
	pause, copy, export, help, quit         key.Binding
	interrupt                               key.Binding
}

func bind(help, does string, keys ...string) key.Binding {
	return key.NewBinding(key.WithKeys(keys...), key.WithHelp(help, does))
}

func newKeyMap() keyMap {
	return keyMap{
		up: bind("↑/k", "up", "up", "k"), down: bind("↓/j", "down", "down", "j"),
		pageUp:   bind("pgup/^u", "page up", "pgup", "ctrl+u", "ctrl+b"),
		pageDown: bind("pgdn/^d", "page down", "pgdown", "ctrl+d", "ctrl+f"),
		first:    bind("home/gg", "first", "home"), last: bind("end/G", "last", "end", "G"),
		enter: bind("enter/l", "go into", "enter", "l", "right"),
		back:  bind("esc/h", "back", "esc", "h", "left", "backspace"),
		next:  bind("tab", "next page", "tab"), previous: bind("shift+tab", "previous page", "shift+tab"),
		page: [4]key.Binding{
			bind("1", "overview", "1"), bind("2", "table", "2"), bind("3", "detail", "3"),
			bind("4", "graph or waste", "4"),
		},
		filter: bind("/", "filter", "/", "f4"), sort: bind("s", "sort by", "s", "f6"),
		reverse: bind("r", "reverse", "r", "S"),
		group:   bind("g", "group by", "g"), window: bind("t", "time window", "t"),
		// As in nvtop, nvitop and htop, besides the arrows, /, F4, F6 and F10.
		falling: bind("-", "largest first", "-"), rising: bind("+", "smallest first", "+"),
		left: bind("<", "sort by the column before", "<", ","), right: bind(">", "sort by the next column", ">", "."),
		pause: bind("space", "pause", "space"), copy: bind("y", "copy as JSON", "y"), export: bind("e", "export", "e"),
		help: bind("?", "help", "?", "f1"), quit: bind("q", "quit", "q", "f10"),
		interrupt: bind("^c", "quit", "ctrl+c"),
	}
}

// short is the line at the bottom.
func (k keyMap) short(p page) []key.Binding {
	switch p {
	case pageTable:
		return []key.Binding{k.help, k.filter, k.enter, k.sort, k.group, k.window, k.pause, k.next, k.quit}
	case pageDetail:
		return []key.Binding{k.help, k.back, k.window, k.pause, k.copy, k.next, k.quit}
	}
	return []key.Binding{k.help, k.next, k.window, k.pause, k.quit}
}

// full is the help page.
func (k keyMap) full() [][]key.Binding {
	return [][]key.Binding{
		{k.up, k.down, k.pageUp, k.pageDown, k.first, k.last},
		{k.enter, k.back, k.next, k.previous, k.page[0], k.page[1], k.page[2], k.page[3]},
		{k.filter, k.sort, k.left, k.right, k.reverse, k.rising, k.falling, k.group},
		{k.window, k.pause, k.copy, k.export, k.help, k.quit, k.interrupt},
	}
}
