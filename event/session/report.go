package session

import (
	"encoding/json"
	"fmt"
	"strings"
)

// reportPrefix begins the line of a doctor's log that holds the report.
const reportPrefix = "orb8-doctor "

// Report is the result of `orb8-tracer doctor` on its node, which loads and attaches what a session would.
type Report struct {
	Protocol uint32 `json:"protocol"`
	Version  string `json:"version"`
	// Kernel is the release (uname -r), Arch the machine (uname -m).
	Kernel string `json:"kernel"`
	Arch   string `json:"arch"`
	// BTF: the kernel describes its types; Cgroup is "unified", "hybrid" or empty, where there is no cgroup v2.
	BTF    bool   `json:"btf"`
	Cgroup string `json:"cgroup"`
	// Granted and Missing are the capabilities that probes need (capabilities(7), without CAP_).
	Granted []string `json:"granted"`
	Missing []string `json:"missing"`
	// Probes have been loaded, attached and detached again.
	Probes []ProbeReport `json:"probes"`
	// GPU is nil unless the configuration has GPUs.
	GPU *GPUReport `json:"gpu,omitempty"`
}

// GPUReport is the part of a Report about the node's GPUs.
type GPUReport struct {
	// Library is the path of the driver's library, on the node or in the container; Driver its version; GPUs the names
	// of the GPUs and MIG devices.
	Library string   `json:"library,omitempty"`
	Driver  string   `json:"driver,omitempty"`
	GPUs    []string `json:"gpus,omitempty"`
	// Error says why they cannot be read. None: there is no driver, and so nothing to read.
	Error string `json:"error,omitempty"`
	None  bool   `json:"none,omitempty"`
	// PodResources is the path, on the node, of the socket by which the kubelet lists which devices it has given to
	// whom, and Allocation what it lists: "1 of 2 nvidia.com/gpu". PodResourcesError says why it does not.
	PodResources      string `json:"podResources,omitempty"`
	Allocation        string `json:"allocation,omitempty"`
	PodResourcesError string `json:"podResourcesError,omitempty"`
	// Calls is what of the driver can be counted, in words; CallsError why nothing can. Both are empty where there is
	// no driver.
	Calls      string `json:"calls,omitempty"`
	CallsError string `json:"callsError,omitempty"`
}

// ProbeReport is the result of loading a probe.
type ProbeReport struct {
	// Kind is that of the probe's events; "scope" for what all of them stand on.
	Kind string `json:"kind"`
	// Hooks are the sections of the attached programs, as libbpf names them: "tp_btf/inet_sock_set_state".
	Hooks    []string        `json:"hooks,omitempty"`
	Programs []ProgramReport `json:"programs,omitempty"`
	// Error says why it cannot be used; empty where it can.
	Error string `json:"error,omitempty"`
	// Unsupported: the kernel lacks something, rather than that it forbids it.
	Unsupported bool `json:"unsupported,omitempty"`
}

// ProgramReport is what loading a program cost: the instructions that the kernel's verifier processed, 0 where it does
// not say (before Linux 5.16).
type ProgramReport struct {
	Name         string `json:"name"`
	Instructions uint32 `json:"instructions,omitempty"`
}

// Line is the log line that holds r, without a line feed.
func (r *Report) Line() string {
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings, numbers and lists of them always marshal
	}
	return reportPrefix + string(b)
}

// ParseReport reads one log line. ok reports whether the line is a report at all; err, whether it is a broken one.
func ParseReport(line string) (r *Report, ok bool, err error) {
	body, ok := strings.CutPrefix(strings.TrimSpace(line), reportPrefix)
	if !ok {
		return nil, false, nil
	}
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		return nil, true, fmt.Errorf("report line: %w", err)
	}
	if r == nil {
		return nil, true, fmt.Errorf("report line: want an object, got %q", body)
	}
	return r, true, nil
}
