// Package capabilities lists what a tracer is granted, by the release of its node's kernel. docs/SECURITY.md has the
// reasons.
package capabilities

import "fmt"

// SysResource lifts the limit of locked memory, to which Linux before 5.11 holds the maps of a process.
const SysResource = "SYS_RESOURCE"

// release is a kernel release, major and minor.
type release [2]int

var all = []struct {
	name string
	// before is the first release that needs it no more; zero: all releases need it.
	before release
	// gpu: only tracers that read GPUs need it.
	gpu bool
}{
	{name: "BPF"},       // loads programs and maps
	{name: "PERFMON"},   // lets them read kernel memory
	{name: "NET_ADMIN"}, // attaches them to the packets of cgroups
	{name: SysResource, before: release{5, 11}},
	{name: "SYS_PTRACE", gpu: true}, // the driver's library is a file of the node, below /proc/1/root
	{name: "SETUID", gpu: true},     // the process that loads it runs as a user without any rights
	{name: "SETGID", gpu: true},
	{name: "SYS_ADMIN", before: release{6, 6}, gpu: true}, // uprobes
}

// For gives the capabilities of a tracer on a kernel, by its release as uname prints it ("5.10.0-32-cloud-amd64"). An
// unknown release counts as a current one. gpu: the tracer reads GPUs.
func For(kernel string, gpu bool) []string {
	var have release
	_, err := fmt.Sscanf(kernel, "%d.%d", &have[0], &have[1])
	var names []string
	for _, c := range all {
		needed := c.before == release{} || err == nil && have.less(c.before)
		if needed && (gpu || !c.gpu) {
			names = append(names, c.name)
		}
	}
	return names
}

func (r release) less(other release) bool {
	return r[0] < other[0] || r[0] == other[0] && r[1] < other[1]
}
