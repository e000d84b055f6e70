package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/plugin/rights"
)

// permission makes a finding of the verbs that the user may not use; fix is the command that grants all.
func permission(p *rights.Permission, namespace string, refused []string, fix string) Finding {
	f := Finding{
		Check: "permission: " + p.Name(), Status: OK,
		Detail: fmt.Sprintf("%s in namespace %s", strings.Join(p.Verbs, ", "), namespace),
	}
	if len(refused) == 0 {
		return f
	}
	var without []string
	f.Status = Warning
	for _, verb := range refused {
		lacks, ok := p.Optional(verb)
		switch {
		case !ok:
			f.Status = Failure
		case lacks != "" && !slices.Contains(without, lacks):
			without = append(without, lacks)
		}
	}
	f.Detail = fmt.Sprintf("may not %s %s in namespace %s", strings.Join(refused, ", "), p.Name(), namespace)
	if f.Status == Warning && len(without) > 0 {
		f.Detail += ": " + strings.Join(without, "; ")
	}
	f.Fix = fix
	return f
}
