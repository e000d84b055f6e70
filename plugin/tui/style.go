package tui

import "charm.land/lipgloss/v2"

// styles are the colours, by what they mean. They are of the 16 that every terminal has, which users choose to their
// liking, and no meaning hangs on a colour alone: what fails is marked with a sign too.
type styles struct {
	title, faint, header, sorted, selected, bad, warn, good, accent, key lipgloss.Style
	lines                                                                []lipgloss.Style
}

func newStyles(dark bool) styles {
	pick := lipgloss.LightDark(dark)
	colour := func(light, dark string) lipgloss.Style {
		return lipgloss.NewStyle().Foreground(pick(lipgloss.Color(light), lipgloss.Color(dark)))
	}
	return styles{
		title: lipgloss.NewStyle().Bold(true), faint: colour("8", "8"), header: colour("4", "12").Bold(true),
		sorted: colour("5", "13").Bold(true), selected: lipgloss.NewStyle().Reverse(true),
		bad: colour("1", "9").Bold(true), warn: colour("3", "11").Bold(true),
		good: colour("6", "14"), accent: colour("4", "14"), key: colour("5", "13"),
		// Colour-blind people can distinguish blue, yellow and magenta.
		lines: []lipgloss.Style{
			colour("4", "12"), colour("3", "11"), colour("5", "13"), colour("1", "9"), colour("6", "14"),
		},
	}
}
