package tui

import (
	"strings"

	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/safe"
	"github.com/orb8-dev/kubectl-orb8/filter"
)

// filterInput is the filter of rows, and the line that it is typed in.
type filterInput struct {
	input  textinput.Model
	row    *event.Kind
	typing bool

	text    string
	match   func(*event.Event) (bool, error)
	cel     bool
	problem error
}

func newFilterInput(row *event.Kind) filterInput {
	f := filterInput{input: textinput.New(), row: row}
	f.input.Prompt = "/"
	styles := f.input.Styles()
	styles.Cursor.Blink = false
	f.input.SetStyles(styles)
	return f
}

func (f *filterInput) SetSize(width, _ int) { f.input.SetWidth(max(width/2, 10)) }

// focus begins to edit the filter.
func (f *filterInput) focus() tea.Cmd {
	f.typing = true
	f.input.SetValue(f.text)
	f.input.CursorEnd()
	return f.input.Focus()
}

// clear removes the filter.
func (f *filterInput) clear() { f.text, f.match, f.cel, f.problem = "", nil, false, nil }

// Update edits the filter, and reports whether it has become another one.
func (f *filterInput) Update(msg tea.Msg) (cmd tea.Cmd, changed bool) {
	if k, ok := msg.(tea.KeyPressMsg); ok {
		switch k.String() {
		case "enter":
			f.typing = false
			f.input.Blur()
			return nil, false
		case "esc":
			f.typing = false
			f.input.Blur()
			f.input.SetValue("")
		}
	}
	f.input, cmd = f.input.Update(msg)
	if f.input.Value() == f.text {
		return cmd, false
	}
	f.text = f.input.Value()
	f.match, f.cel, f.problem = matcher(f.text, f.row)
	return cmd, true
}

// View is the line that is typed in, and how its text is understood.
func (f *filterInput) View(style *styles) string {
	line := f.input.View() + "  "
	switch {
	case f.problem != nil:
		return line + style.warn.Render(safe.Text("as text: "+f.problem.Error()))
	case f.cel:
		return line + style.good.Render("CEL")
	}
	return line + style.faint.Render("text, or CEL over fields: failed > 0")
}

// matcher is what a text typed after / means: a CEL expression over the fields of a row where it is one, else a part of
// any of its words. problem is what is wrong with what looks like an expression.
func matcher(text string, row *event.Kind) (match func(*event.Event) (bool, error), cel bool, problem error) {
	if strings.TrimSpace(text) == "" {
		return nil, false, nil
	}
	f, err := filter.Compile(text, []*event.Kind{row})
	if err == nil {
		return f.Match, true, nil
	}
	if !strings.ContainsAny(text, "=<>!&|()\"'") {
		err = nil
	}
	return contains(text, row), false, err
}

// contains matches rows with part in one of the shown names, case-insensitively.
func contains(part string, row *event.Kind) func(*event.Event) (bool, error) {
	part = strings.ToLower(part)
	var columns []*event.Column
	for _, c := range tableColumns(row, nil) {
		if c.Type == event.Text {
			columns = append(columns, c)
		}
	}
	return func(ev *event.Event) (bool, error) {
		for _, c := range columns {
			if strings.Contains(strings.ToLower(string(c.AppendCell(nil, ev, &event.View{}))), part) {
				return true, nil
			}
		}
		return false, nil
	}
}
