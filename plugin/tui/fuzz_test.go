package tui

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/check"
	"github.com/orb8-dev/kubectl-orb8/event/eventtest"
	"github.com/orb8-dev/kubectl-orb8/plugin/model"
)

// fuzzKeys are what a byte of FuzzScreen's keys presses.
var fuzzKeys = []string{
	"1", "2", "3", "4", "tab", "shift+tab", "up", "down", "pgup", "pgdown", "home", "end", "enter", "esc", "s", "r",
	"g", "t",
	"space", "y", "?", "/", "w", "<", ">", "+", "-", "backspace", "f4", "f6",
}

// fuzzSizes are of screens.
var fuzzSizes = [][2]int{{80, 24}, {200, 50}, {60, 15}, {1, 1}, {120, 40}}

// FuzzScreen gives a screen mutated events that the border has accepted, and any keys. No line may be wider than the
// screen, nor hold what a terminal obeys beyond the screen's own colours.
func FuzzScreen(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 3))
	for i := range 4 * len(model.Topics()) {
		in := make([]byte, 400)
		for j := range in {
			in[j] = byte(r.Uint32())
		}
		f.Add(uint8(i), in[:20], in[20:])
	}
	f.Fuzz(func(t *testing.T, setting uint8, keys, in []byte) {
		topics := model.Topics()
		topic := topics[int(setting)%len(topics)]
		size := fuzzSizes[int(setting)/len(topics)%len(fuzzSizes)]
		w := &world{Model: model.New(topic, model.Options{Started: start}), now: start}
		checker := check.Recording(nil, start)
		d := drive(t, w, size[0], size[1], func(o *Options) {
			o.Namespace = "web"
			o.Export = func(string, []*event.Event) (string, error) { return "x", nil }
		})
		for i, ev := range eventtest.Events(in, start) {
			if checker.Check(ev) != nil {
				continue
			}
			w.now = time.Unix(0, int64(ev.GetTime()))
			w.Add(ev, w.now)
			if i%8 == 0 && len(keys) > 0 {
				d.send(tickMsg(w.now))
				d.keysIn(fuzzKeys[int(keys[0])%len(fuzzKeys)])
				keys = keys[1:]
				drawable(t, d)
			}
		}
		d.send(tickMsg(w.now))
		for _, k := range keys[:min(len(keys), 32)] {
			d.keysIn(fuzzKeys[int(k)%len(fuzzKeys)])
			drawable(t, d)
		}
	})
}

// drawable fails where a screen is larger than its terminal, or holds what the terminal would obey.
func drawable(t *testing.T, d *driver) {
	t.Helper()
	_ = d.View()
	lines := d.lines()
	if len(lines) > max(d.height, 1) {
		t.Fatalf("%d lines on a screen of %d", len(lines), d.height)
	}
	for _, line := range lines {
		text := ansi.Strip(line)
		if n := ansi.StringWidth(text); n > d.width {
			t.Fatalf("%d columns on a screen of %d: %q", n, d.width, text)
		}
		if i := strings.IndexFunc(text, obeyed); i >= 0 {
			t.Fatalf("a terminal obeys %.60q", text[i:])
		}
	}
}

func obeyed(r rune) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' ||
		r == '\u200e' || r == '\u200f'
}
