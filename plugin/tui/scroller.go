package tui

import tea "charm.land/bubbletea/v2"

// scroller is the first line of a longer text that is shown.
type scroller struct{ first int }

// update scrolls by lines, or by pages of a height.
func (s *scroller) update(msg tea.Msg, height int) {
	by := wheelSteps(msg)
	switch msg {
	case actUp:
		by = -1
	case actDown:
		by = 1
	case actPageUp:
		by = -height
	case actPageDown:
		by = height
	case actFirst:
		by = -s.first
	case actLast:
		by = endOfText
	}
	s.first = min(max(s.first+by, 0), endOfText)
}

// overlap is how many lines stay in view when a page is turned.
const overlap = 2

// endOfText is more than any text has lines: visible finds the last ones.
const endOfText = 1 << 20

// visible is the range of lines that are shown, of all that there are.
func (s *scroller) visible(lines, height int) (from, to int) {
	s.first = max(min(s.first, lines-height), 0)
	return s.first, min(s.first+height, lines)
}
