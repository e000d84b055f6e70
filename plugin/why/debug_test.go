package why

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/plugin/why/scenario"
)

func TestDebug(t *testing.T) {
	seed, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64)
	if err != nil {
		t.Skip()
	}
	s := scenario.Generate(seed)
	w := New(30e9)
	for _, ev := range s.Events {
		w.Add(ev)
	}
	fmt.Println(s.Label)
	for _, p := range w.pods {
		for i, st := range w.seats(p) {
			if i > 1 {
				break
			}
			for slot := 2; slot < 30; slot += 7 {
				m, ok := st.moment(slot)
				fmt.Print(p.name, " ", slot, ok)
				for c, x := range m {
					fmt.Printf(" %s=%.3g", Signals[c].Name, x)
				}
				fmt.Println(split(&m))
			}
		}
	}
}
