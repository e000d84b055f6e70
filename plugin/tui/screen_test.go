package tui

import (
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/orb8-dev/kubectl-orb8/plugin/model"
)

// driver runs a screen without a terminal: what its commands answer is handed to it at once, but for the clock's.
type driver struct {
	*screen
	quit      bool
	clipboard string
}

func drive(t testing.TB, w *world, width, height int, change func(*Options)) *driver {
	t.Helper()
	o := Options{Source: w, Topic: w.Topic(), Window: time.Minute, Namespace: "shop", Title: `pods in namespace "shop"`, Now: func() time.Time { return w.now }}
	if change != nil {
		change(&o)
	}
	d := &driver{screen: newScreen(o)}
	d.run(d.refresh())
	d.send(tea.WindowSizeMsg{Width: width, Height: height})
	return d
}

func (d *driver) send(msg tea.Msg) {
	_, cmd := d.Update(msg)
	d.run(cmd)
}

func (d *driver) run(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	switch msg := cmd().(type) {
	case nil:
	case tea.BatchMsg:
		for _, c := range msg {
			d.run(c)
		}
	case tea.QuitMsg:
		d.quit = true
	case answerMsg, countMsg, doneMsg, noteMsg:
		d.send(msg)
	default: // of the terminal
		if s, ok := any(msg).(interface{ String() string }); ok {
			d.clipboard = s.String()
		}
	}
}

var special = map[string]tea.KeyPressMsg{
	"enter": {Code: tea.KeyEnter}, "esc": {Code: tea.KeyEscape}, "up": {Code: tea.KeyUp}, "down": {Code: tea.KeyDown}, "tab": {Code: tea.KeyTab},
	"pgdown": {Code: tea.KeyPgDown}, "pgup": {Code: tea.KeyPgUp}, "home": {Code: tea.KeyHome}, "end": {Code: tea.KeyEnd}, "space": {Code: tea.KeySpace, Text: " "},
	"ctrl+c": {Code: 'c', Mod: tea.ModCtrl}, "shift+tab": {Code: tea.KeyTab, Mod: tea.ModShift}, "backspace": {Code: tea.KeyBackspace},
}

// press sends keys: names, or letters.
func (d *driver) keysIn(keys ...string) {
	for _, k := range keys {
		if msg, ok := special[k]; ok {
			d.send(msg)
			continue
		}
		for _, r := range k {
			d.send(tea.KeyPressMsg{Code: r, Text: string(r)})
		}
	}
}

func (d *driver) text() string { return ansi.Strip(strings.Join(d.lines(), "\n")) }

func TestLook(t *testing.T) {
	for _, w := range []*world{busy(), asked(), called()} {
		d := drive(t, w, 100, 30, nil)
		t.Log("\n" + d.text())
		d.keysIn("1")
		t.Log("\n" + d.text())
		d.keysIn("3")
		t.Log("\n" + d.text())
	}
	d := drive(t, busy(), 80, 24, nil)
	d.keysIn("?")
	t.Log("\n" + d.text())
	d.keysIn("?", "g")
	t.Log("\n" + d.text())
}

var _ = model.Topics
