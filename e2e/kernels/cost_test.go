package kernels

import (
	"reflect"
	"testing"
)

func TestParseCosts_ReadsTable(t *testing.T) {
	costs := Costs{}
	costs.Add("flow tcp_state", "6.1 amd64", 1000)
	costs.Add("flow tcp_state", "6.12 amd64", 2000)
	costs.Add("drop drops_kfree_skb", "6.12 amd64", 1)
	page := "# Kernels\n\n| probe | x |\n|---|---|\n| scope | yes |\n\n" +
		costs.Table([]string{"5.10 amd64", "6.1 amd64", "6.12 amd64"}) +
		"\n## Hooks\n\n| probe | attached to |\n|---|---|\n| scope | `a` |\n"
	got, err := ParseCosts(page)
	if err != nil || !reflect.DeepEqual(got, costs) {
		t.Errorf("%v, %v; want %v", got, err, costs)
	}
	if got, err := ParseCosts("# Kernels\n"); err != nil || len(got) != 0 {
		t.Errorf("%v, %v of a page without any", got, err)
	}
	for _, bad := range []string{"| program | a |\n|---|---|\n| x | 1 | 2 |\n",
		"| program | a |\n|---|---|\n| x | y |\n"} {
		if got, err := ParseCosts(costsTitle + "\n\n" + bad); err == nil {
			t.Errorf("%q: %v, want an error", bad, got)
		}
	}
}

func TestCosts_Drifts(t *testing.T) {
	before, now := Costs{}, Costs{}
	for program, counts := range map[string][2]uint32{
		"same": {1000, 1100}, "more": {1000, 1101}, "less": {1000, 899}, "new": {0, 5}, "untold": {1000, 0},
	} {
		before.Add(program, "6.1 amd64", counts[0])
		now.Add(program, "6.1 amd64", counts[1])
	}
	now.Add("more", "6.12 amd64", 7) // was not tried before
	want := []string{"less on 6.1 amd64: 899 instructions, were 1000 (-10 %)",
		"more on 6.1 amd64: 1101 instructions, were 1000 (+10 %)"}
	if got := now.Drifts(before); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
