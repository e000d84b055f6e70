package tui

import (
	"fmt"
	"strings"
	"time"

	"charm.land/bubbles/v2/help"
	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/orb8-dev/kubectl-orb8/collect/losses"
	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/internal/plural"
	"github.com/orb8-dev/kubectl-orb8/plugin/model"
)

// small reports whether there is too little room for the pages.
func (s *screen) small() bool { return s.width < minWidth || s.height < minHeight }

func (s *screen) View() tea.View {
	v := tea.NewView(s.o.Terminal.Columns(strings.Join(s.lines(), "\n")))
	v.AltScreen = true
	v.MouseMode = tea.MouseModeCellMotion
	v.WindowTitle = "kubectl orb8 top " + s.o.Topic.Name
	return v
}

// lines are the picture: exactly as many as the terminal has, none of them wider.
func (s *screen) lines() []string {
	if s.width == 0 || s.height == 0 {
		return nil
	}
	var lines []string
	switch {
	case s.small():
		lines = []string{
			fmt.Sprintf("terminal too small: needs %dx%d, is %dx%d", minWidth, minHeight, s.width, s.height),
		}
	default:
		lines = append(s.head(), s.active.View()...)
		if s.picker != nil {
			s.over(lines, s.picker.View(&s.style))
		}
		if s.help {
			s.over(lines, s.helpBox())
		}
		lines = append(filled(lines, s.height-1), s.foot())
	}
	lines = filled(lines, s.height)
	for i := range lines {
		lines[i] = cut(lines[i], s.width)
	}
	return lines
}

// filled is exactly n lines.
func filled(lines []string, n int) []string {
	if len(lines) > n {
		return lines[:n]
	}
	return append(lines, make([]string, n-len(lines))...)
}

// head is two lines: the pages and the state of the stream, and what is shown.
func (s *screen) head() []string {
	left := s.style.title.Render("orb8 top "+s.o.Topic.Name) + "  " + s.tabs()
	right := s.badges()
	first := left + strings.Repeat(" ", max(s.width-ansi.StringWidth(left)-ansi.StringWidth(right), 1)) + right
	crumbs := append([]string{safe.Text(s.o.Title)}, s.table.level().names...)
	where := strings.Join(crumbs, " › ")
	if s.active == s.table || s.active == s.detail {
		where += " by " + s.table.level().group.Name
	}
	what := " · " + windowName(s.window)
	if s.filter.text != "" && s.active == s.table {
		kind := "text"
		if s.filter.cel {
			kind = "CEL"
		}
		what += " · " + kind + " /" + safe.Text(s.filter.text)
	}
	return []string{
		first, s.style.faint.Render(cut(where, max(s.width-ansi.StringWidth(what), 10))) + s.style.accent.Render(what),
	}
}

func windowName(d time.Duration) string {
	switch {
	case d == 0:
		return "since the beginning"
	case d%time.Minute == 0:
		return fmt.Sprintf("last %d min", d/time.Minute)
	}
	return fmt.Sprintf("last %d s", d/time.Second)
}

func (s *screen) tabs() string {
	var tabs []string
	for i, p := range s.pages {
		if p == s.active {
			tabs = append(tabs, s.style.selected.Render(" "+p.Name()+" "))
		} else {
			tabs = append(tabs, s.style.faint.Render(fmt.Sprintf("%d %s", i+1, p.Name())))
		}
	}
	return strings.Join(tabs, " ")
}

// badges are what the picture lacks: a pause, losses, nodes.
func (s *screen) badges() string {
	var all []string
	if s.paused {
		all = append(
			all, s.style.warn.Render(fmt.Sprintf("‖ paused, %d s behind", int(s.o.Now().Sub(s.pausedAt)/time.Second))),
		)
	}
	if n := lost(s.status); n > 0 {
		all = append(all, s.style.bad.Render(fmt.Sprintf("! LOST %d", n)))
	}
	streaming, nodes := 0, 0
	for _, n := range s.status.Nodes {
		switch n.State {
		case event.NodeState_NODE_STATE_STREAMING:
			streaming++
		case event.NodeState_NODE_STATE_STOPPED:
			continue
		}
		nodes++
	}
	word := fmt.Sprintf("%d/%d %s", streaming, nodes, plural.Noun(nodes, "node"))
	switch {
	case nodes == 0:
		word = s.style.warn.Render("… starting")
	case streaming < nodes:
		word = s.style.bad.Render("! " + word)
	default:
		word = s.style.good.Render(word)
	}
	return strings.Join(append(all, word), "  ")
}

// lost is how many events did not arrive; what came without a name did.
func lost(st model.Status) (n uint64) {
	for _, l := range losses.Real(st.Losses) {
		n += l.Count
	}
	return n
}

// foot is the filter that is typed, a message, or the keys.
func (s *screen) foot() string {
	switch err := s.table.answer.Err; {
	case s.filter.typing:
		return s.filter.View(&s.style)
	case err != nil && s.active == s.table:
		return s.style.bad.Render("! " + safe.Text(err.Error()))
	case s.message != "" && s.o.Now().Sub(s.messageAt) < messageTime:
		return s.style.accent.Render(safe.Text(s.message))
	case s.paused:
		return s.style.warn.Render(fmt.Sprintf("‖ paused: %s since; space goes on", plural.Count(s.missed, "event")))
	}
	h := help.New()
	h.Styles = s.helpStyles()
	h.SetWidth(s.width)
	return h.ShortHelpView(s.active.ShortHelp())
}

func (s *screen) helpStyles() help.Styles {
	return help.Styles{
		Ellipsis: s.style.faint, ShortKey: s.style.key, ShortDesc: s.style.faint, ShortSeparator: s.style.faint,
		FullKey: s.style.key, FullDesc: s.style.title, FullSeparator: s.style.faint,
	}
}

// over lays a box over lines, in their middle.
func (s *screen) over(lines []string, box []string) {
	wide := 0
	for _, l := range box {
		wide = max(wide, ansi.StringWidth(l))
	}
	wide = min(wide, s.width-4)
	left := (s.width - wide - 2) / 2
	top := max((len(lines)-len(box))/2, 2)
	for i, l := range append(append([]string{
		"╭" + strings.Repeat("─", wide) + "╮",
	}, boxed(box, wide)...), "╰"+strings.Repeat("─", wide)+"╯") {
		if at := top - 1 + i; at < len(lines) {
			under := fit(lines[at], s.width, false)
			lines[at] = ansi.Truncate(under, left, "") + l + ansi.TruncateLeft(under, left+wide+2, "")
		}
	}
}

func boxed(box []string, wide int) []string {
	out := make([]string, len(box))
	for i, l := range box {
		out[i] = "│" + fit(l, wide, false) + "│"
	}
	return out
}

func (s *screen) helpBox() []string {
	h := help.New()
	h.Styles = s.helpStyles()
	box := []string{s.style.title.Render(" keys"), ""}
	columns := s.keys.FullHelp()
	if s.width < 100 { // two columns above two others
		for _, half := range [][]string{lines(h.FullHelpView(columns[:2])), {""}, lines(h.FullHelpView(columns[2:]))} {
			box = append(box, half...)
		}
	} else {
		box = append(box, lines(h.FullHelpView(columns))...)
	}
	for i := 2; i < len(box); i++ {
		box[i] = " " + box[i] + " "
	}
	return append(box, "", s.style.faint.Render(" mouse: click a row or a header, wheel scrolls. Any key closes this."))
}

func lines(s string) []string { return strings.Split(s, "\n") }
