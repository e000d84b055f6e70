package bpf

import "testing"

func TestText(t *testing.T) {
	for want, array := range map[string][]int8{
		"":     {0, 'x', 0, 0},
		"sh":   {'s', 'h', 0, 'x'},
		"full": {'f', 'u', 'l', 'l'},
		"\xff": {-1, 0},
	} {
		if got := string(Text(array)); got != want {
			t.Errorf("%v is %q, want %q", array, got, want)
		}
	}
	if got := Text[uint8](nil); len(got) != 0 {
		t.Errorf("of nothing: %q", got)
	}
}
