package tui

import tea "charm.land/bubbletea/v2"

// click selects a row, goes into the one that is selected, or sorts by the column whose header it hits.
func (s *screen) click(msg tea.MouseClickMsg) tea.Cmd {
	if msg.Button != tea.MouseLeft || s.typing || s.help || s.picker != nil || s.page != pageTable || s.small() {
		return nil
	}
	s.said = ""
	if msg.Y == tableHeader {
		at := 0
		for _, c := range s.layout() {
			if at += c.width + 1; msg.X < at {
				if c.column != nil && c.column.Get != nil {
					return s.sortBy(c.column)
				}
				return nil
			}
		}
		return nil
	}
	at := s.level().top + msg.Y - tableHeader - 1
	if _, known := s.row(at); msg.Y <= tableHeader || msg.Y > tableHeader+s.rows() || !known {
		return nil
	}
	if at == s.level().cursor {
		return s.enter()
	}
	return s.move(at - s.level().cursor)
}

func (s *screen) wheel(msg tea.MouseWheelMsg) tea.Cmd {
	if s.typing || s.help || s.picker != nil {
		return nil
	}
	switch msg.Button {
	case tea.MouseWheelUp:
		return s.move(-3)
	case tea.MouseWheelDown:
		return s.move(3)
	}
	return nil
}
