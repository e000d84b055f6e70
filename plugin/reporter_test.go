package plugin

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func TestReporter_ScreenLinesAreCounted(t *testing.T) {
	var out bytes.Buffer
	r := newReporter(&out)
	lines, done := r.toScreen()
	report := func(from, to int) {
		for i := from; i < to; i++ {
			r.Logf("line %d", i)
		}
	}
	var want []string
	expect := func(from, to int) {
		for i := from; i < to; i++ {
			want = append(want, fmt.Sprintf("line %d", i))
		}
	}
	report(0, 100)
	expect(0, 64)
	want = append(want, "36 lines left out here: the screen was too slow for them")
	var got []string
	for range 3 {
		got = append(got, <-lines)
	}
	report(100, 105)
	expect(100, 102)
	want = append(want, "3 lines left out here: the screen was too slow for them")
	done()
	report(105, 106)
	expect(105, 106)
	got = append(got, strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")...)
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestReporter_OneLineLeftOut(t *testing.T) {
	var out bytes.Buffer
	r := newReporter(&out)
	_, done := r.toScreen()
	for range maxNotes + 1 {
		r.Logf("a line")
	}
	done()
	if !strings.HasSuffix(out.String(), "\n1 line left out here: the screen was too slow for them\n") {
		t.Errorf("wrote %q", out.String())
	}
}
