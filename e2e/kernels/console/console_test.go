package console

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParse_ReturnsSteps(t *testing.T) {
	text := strings.Join([]string{"boot", Begin("a"), "one\r", "two", End("a", 0, 1500*time.Millisecond), "between",
		Begin("b"), "half", End("a", 1, 0), "the end of a is no end of b"}, "\n")
	steps, other, err := Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []Step{
		{Name: "a", Ended: true, Took: 1500 * time.Millisecond, Output: []string{"one", "two"}},
		{Name: "b", Output: []string{"half", End("a", 1, 0), "the end of a is no end of b"}},
	}
	if !reflect.DeepEqual(steps, want) || !reflect.DeepEqual(other, []string{"boot", "between"}) {
		t.Errorf("got %+v, %q", steps, other)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("x\n" + Begin("a") + "\ny\n" + End("a", 3, time.Second) + "\n")
	f.Fuzz(func(_ *testing.T, text string) { _, _, _ = Parse(strings.NewReader(text)) })
}
