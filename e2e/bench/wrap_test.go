package bench

import (
	"strings"
	"testing"
)

func TestWrap_BreaksAt120Columns(t *testing.T) {
	long := strings.Repeat("µ", 59)
	for text, want := range map[string]string{
		"":                              "\n",
		"- a b":                         "- a b\n",
		long + " " + long + "x":         long + " " + long + "x\n",
		long + " " + long + "xy":        long + "\n  " + long + "xy\n",
		long + " " + long + " c d":      long + " " + long + "\n  c d\n",
		strings.Repeat("x", 130) + " y": strings.Repeat("x", 130) + "\n  y\n",
	} {
		if got := wrap(text, "  "); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
