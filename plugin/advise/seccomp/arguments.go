package seccomp

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// arguments are the values of a call's first argument, for the calls whose harm depends on it.
type arguments struct {
	// unknown: some call had no argument that can be read. Counts of calls have none.
	unknown bool
	// values are the first arguments; of clone, only whether flags of new namespaces were among them.
	values map[uint64]struct{}
}

const (
	// maxValues bounds the values of a rule: a call with more is allowed with any.
	maxValues = 16
	// newNamespaces are the flags of clone(2) for new namespaces, CLONE_NEWNS to CLONE_NEWNET (linux/sched.h).
	newNamespaces = 0x7e020000
)

// families are the numbers of socket families by the names in events (linux/socket.h).
var families = map[string]uint64{
	"AF_UNSPEC": 0, "AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16, "AF_PACKET": 17, "AF_ALG": 38,
	"AF_VSOCK": 40, "AF_XDP": 44,
}

// filtered are the calls with a rule for their first argument.
var filtered = map[string]func(text string) (uint64, bool){
	"clone": func(text string) (uint64, bool) {
		if strings.Contains(text, "CLONE_NEW") {
			return newNamespaces, true
		}
		return 0, text != "" && !strings.Contains(text, "?")
	},
	"socket":     family,
	"socketpair": family,
	"personality": func(text string) (uint64, bool) {
		n, err := strconv.ParseUint(text, 0, 64)
		return n, err == nil
	},
}

func family(text string) (uint64, bool) {
	if n, ok := families[text]; ok {
		return n, true
	}
	n, err := strconv.ParseUint(text, 10, 32)
	return n, err == nil
}

// add takes the arguments of a call.
func (a *arguments) add(s *event.Syscall) {
	read := filtered[s.GetName()]
	if read == nil || a.unknown {
		return
	}
	first, _, _ := strings.Cut(s.GetArgs(), ", ")
	n, ok := read(first)
	if !ok || len(a.values) >= maxValues {
		a.unknown, a.values = true, nil
		return
	}
	if a.values == nil {
		a.values = map[uint64]struct{}{}
	}
	a.values[n] = struct{}{}
}

// merge adds the arguments of the same call of another instruction set.
func (a *arguments) merge(other arguments) {
	a.unknown = a.unknown || other.unknown
	if a.values == nil {
		a.values = map[uint64]struct{}{}
	}
	maps.Copy(a.values, other.values)
}

// rules are those for a call with these arguments; nil: it is allowed with any.
func (a *arguments) rules(name string) (rules []Rule) {
	_, namespaces := a.values[newNamespaces]
	if filtered[name] == nil || a.unknown || len(a.values) == 0 || name == "clone" && namespaces {
		return nil
	}
	if name == "clone" {
		return []Rule{{Names: []string{name}, Action: actionAllow,
			Args: []Arg{{Value: newNamespaces, ValueTwo: 0, Op: "SCMP_CMP_MASKED_EQ"}}}}
	}
	for _, v := range slices.Sorted(maps.Keys(a.values)) {
		rules = append(rules, Rule{Names: []string{name}, Action: actionAllow,
			Args: []Arg{{Value: v, Op: "SCMP_CMP_EQ"}}})
	}
	return rules
}
