package wire

import (
	"fmt"
	"strings"
	"testing"
	"unsafe"
)

// size returns how many names are kept, and their bytes.
func (t *names) size() (n, bytes int) {
	for _, set := range t.sets {
		for _, s := range set.names {
			if s != "" {
				n, bytes = n+1, bytes+len(s)
			}
		}
	}
	return n, bytes
}

// TestNames_AreBounded has a hostile sender, which uses each name once.
func TestNames_AreBounded(t *testing.T) {
	var names names
	for i := range 20_000 {
		name := fmt.Sprintf("%0*d", 1+i%(2*maxName), i)
		if s, ok := names.get([]byte(name)); !ok || s != name {
			t.Fatalf("%q became %q", name, s)
		}
	}
	n, bytes := names.size()
	if len(names.sets) != maxNameSets || n > waysOfSet*maxNameSets || bytes > n*maxName {
		t.Errorf("%d sets with %d names of %d bytes", len(names.sets), n, bytes)
	}
	long := []byte(strings.Repeat("x", maxName+1))
	a, _ := names.get(long)
	b, _ := names.get(long)
	if unsafe.StringData(a) == unsafe.StringData(b) {
		t.Errorf("a name of %d bytes is kept", len(a))
	}
}

// TestNames_FitANode has the names of 110 pods, the most that Kubernetes places on a node by default.
func TestNames_FitANode(t *testing.T) {
	var names names
	var all [][]byte
	for i := range 110 {
		all = append(all, fmt.Appendf(nil, "web-6c7f9d5b8-%05d", i),
			fmt.Appendf(nil, "5ecc7d4e-9d5e-4a8c-8a9e-%012d", i),
			fmt.Appendf(nil, "deploy/web-%d", i/3))
	}
	for range 8 { // until the table has grown
		for _, name := range all {
			names.get(name)
		}
	}
	kept := 0
	for _, name := range all {
		before, _ := names.get(name)
		if after, _ := names.get(name); unsafe.StringData(before) == unsafe.StringData(after) {
			kept++
		}
	}
	if kept != len(all) {
		t.Errorf("%d of %d names are kept", kept, len(all))
	}
}

func TestNames_RefuseWhatIsNotText(t *testing.T) {
	var names names
	for range 3 { // a name that was refused is not known the next time
		if _, ok := names.get([]byte("a\xff")); ok {
			t.Fatal("accepted")
		}
	}
	if s, ok := names.get(nil); s != "" || !ok {
		t.Errorf("no name became %q", s)
	}
}
