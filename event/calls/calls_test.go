package calls

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestEveryMemberOfAGroupExists(t *testing.T) {
	all := Names()
	for group, members := range groups {
		names := strings.Fields(members)
		if !slices.IsSorted(names) {
			t.Errorf("%%%s is not sorted", group)
		}
		for i, name := range names {
			_, known := slices.BinarySearch(all, name)
			// What x/sys names by other words on other architectures, or has no longer.
			if !known && !slices.Contains([]string{"break", "uselib", "oldlstat", "oldstat"}, name) {
				t.Errorf("%%%s has %s, which does not exist", group, name)
			}
			if i > 0 && names[i-1] == name {
				t.Errorf("%%%s has %s twice", group, name)
			}
		}
	}
}

// TestTablesHoldKnownNumbers holds some numbers against those that man 2 syscall and the kernel's headers print.
func TestTablesHoldKnownNumbers(t *testing.T) {
	for _, c := range []struct {
		abi    ABI
		number int
		want   string
	}{
		{AMD64, 0, "read"}, {AMD64, 59, "execve"}, {AMD64, 110, "getppid"}, {AMD64, 257, "openat"},
		{AMD64, 435, "clone3"},
		{ARM64, 63, "read"}, {ARM64, 56, "openat"}, {ARM64, 173, "getppid"}, {ARM64, 221, "execve"},
		{ARM64, 435, "clone3"},
		{ARM64, 244, ""}, // the first of those that belong to an architecture
		{I386, 3, "read"}, {I386, 64, "getppid"}, {I386, 102, "socketcall"}, {I386, 11, "execve"}, {ARM, 3, "read"},
		{ARM, 322, "openat"},
		{AMD64, -1, ""}, {AMD64, 5000, ""},
	} {
		if got := c.abi.Name(c.number); got != c.want {
			t.Errorf("%d of %s is %q, want %q", c.number, c.abi, got, c.want)
		}
	}
	for a := AMD64; a <= ARM; a++ {
		seen := map[string]bool{}
		for i := range a.Numbers() {
			if n := a.Name(i); n != "" && seen[n] {
				t.Errorf("%s has %s twice", a, n)
			}
			seen[a.Name(i)] = true
		}
	}
}

func TestExpand(t *testing.T) {
	got, err := Expand([]string{"read", "%process", "openat", "read"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"read", "openat", "clone", "clone3", "exit_group", "wait4"} {
		if !slices.Contains(got, want) {
			t.Errorf("%v lacks %s", got, want)
		}
	}
	if slices.Contains(got, "write") || !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
		t.Errorf("got %v", got)
	}
	if all, err := Expand(nil); err != nil || len(all) > 0 {
		t.Errorf("nothing asked for gives %v, %v", all, err)
	}
	for item, nearest := range map[string]string{"opennat": "openat", "%fil": "%file", "%network": "",
		"xyzzy-xyzzy": "", "Read": "read"} {
		_, err := Expand([]string{"read", item})
		var unknown *UnknownError
		if !errors.As(err, &unknown) || unknown.Name != item || unknown.Nearest != nearest {
			t.Errorf("%s: %v, want the hint %q", item, err, nearest)
		}
	}
}

func TestABI_Has(t *testing.T) {
	for _, c := range []struct {
		abi, name string
		want      bool
	}{
		{"amd64", "openat", true}, {"amd64", "open", true}, {"arm64", "open", false}, {"386", "socketcall", true},
		{"arm64", "", false}, {"arm", "nosuchcall", false},
	} {
		abi, known := Parse(c.abi)
		if !known || abi.String() != c.abi {
			t.Errorf("%s: %v, %v", c.abi, abi, known)
		}
		if got := abi.Has(c.name); got != c.want {
			t.Errorf("%s has %q: %v, want %v", c.abi, c.name, got, c.want)
		}
	}
	if _, known := Parse("x32"); known {
		t.Error("x32 has no names")
	}
}
