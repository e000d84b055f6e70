package drops

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// reasons are the kernel's own words for why it drops, by number. Their numbers differ from one version to the next.
type reasons struct {
	names    map[uint32]string
	consumed uint32
}

// subsystems have enums of their own, whose numbers have the subsystem's in the upper half.
var subsystems = []struct{ enum, prefix string }{
	{"skb_drop_reason", "SKB_DROP_REASON_"},
	{"skb_drop_reason_subsys", ""}, // for its numbers only
	{"mac80211_drop_reason", "RX_DROP_"},
	{"ovs_drop_reason", "OVS_DROP_"},
}

// readReasons reads them from the kernel's types. It finds none before Linux 5.17.
func readReasons(kernel *btf.Spec) reasons {
	r := reasons{names: map[uint32]string{}}
	for _, s := range subsystems {
		var e *btf.Enum
		if s.prefix == "" || kernel.TypeByName(s.enum, &e) != nil {
			continue
		}
		for _, v := range e.Values {
			name := strings.TrimPrefix(v.Name, s.prefix)
			switch {
			case name == "MAX" || strings.HasPrefix(name, "SUBSYS_"):
			case name == "CONSUMED":
				r.consumed = uint32(v.Value)
			default:
				r.names[uint32(v.Value)] = strings.TrimPrefix(name, "__")
			}
		}
	}
	return r
}

// name is the kernel's word, empty if it has none.
func (r *reasons) name(number uint32) string {
	if len(r.names) == 0 {
		return ""
	}
	if name, ok := r.names[number]; ok {
		return name
	}
	return fmt.Sprintf("%d", number)
}
