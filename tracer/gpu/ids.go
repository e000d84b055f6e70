//go:build linux

package gpu

import (
	"strconv"
	"strings"

	"github.com/orb8-dev/kubectl-orb8/event"
)

// Names of GPUs at the kubelet: extended resources of NVIDIA's and GKE's device plugins, and the driver for dynamic
// resource allocation.
const (
	gpuResource = "nvidia.com/gpu"  // and nvidia.com/gpu.shared
	migResource = "nvidia.com/mig-" // nvidia.com/mig-1g.10gb
	draDriver   = "gpu.nvidia.com"
)

// form is how an id names a device.
type form uint8

const (
	// noForm is an unknown form.
	noForm form = iota
	// byUUID: "GPU-8dcd427f-…", "MIG-7f1e…"; with time-slicing and MPS followed by "::" and the number of the replica.
	byUUID
	// byIndex: "0"; of a MIG device "0:1", its index in its GPU.
	byIndex
	// byMinor is by device file: GKE's "nvidia0", with time-sharing "nvidia0/vgpu2"; of a MIG device "nvidia0/gi7", by
	// its GPU instance.
	byMinor
	// byName is of NVIDIA's driver for dynamic resource allocation: "gpu-0", by the device file; of a MIG device
	// "gpu-0-mig-1g10gb-19-4", by profile name, profile number and first memory slice; before 2025 "gpu-0-mig-19-4-1",
	// without the profile's name and followed by a size.
	byName
	// elsewhere: a device that NVML does not report, because a virtual machine has it: "gpu-vfio-0".
	elsewhere
)

// gpuID is a parsed id of a device that the kubelet has allocated to a container.
type gpuID struct {
	form form
	uuid string
	// gpu is the index or minor number of the GPU.
	gpu uint32
	// mig: it is a MIG device. part is its index, GPU instance or first memory slice. profile may be empty.
	mig     bool
	part    uint32
	profile string
}

// ofGPUs reports whether all devices of an extended resource are GPUs or MIG devices. Devices of other resources are
// GPUs if their id is a GPU's UUID.
func ofGPUs(resource string) bool {
	return resource == gpuResource || strings.HasPrefix(resource, gpuResource+".") ||
		strings.HasPrefix(resource, migResource)
}

// parseDevice parses a device plugin's id.
func parseDevice(resource, id string) gpuID {
	base, _, _ := strings.Cut(id, "::")
	switch {
	case strings.HasPrefix(base, "GPU-"), strings.HasPrefix(base, "MIG-"):
		return gpuID{form: byUUID, uuid: base}
	case !ofGPUs(resource):
		return gpuID{form: byUUID, uuid: base} // an id of another vendor matches no device
	}
	if rest, ok := strings.CutPrefix(base, "nvidia"); ok {
		return parseMinor(rest)
	}
	return parseIndex(base)
}

// parseMinor parses "0", "0/gi7", "0/vgpu2", "0/gi7/vgpu2".
func parseMinor(s string) (d gpuID) {
	s, rest, _ := strings.Cut(s, "/")
	gpu, ok := number(s)
	if !ok {
		return gpuID{}
	}
	d = gpuID{form: byMinor, gpu: gpu}
	if gi, after, _ := strings.Cut(rest, "/"); strings.HasPrefix(gi, "gi") {
		if d.part, ok = number(gi[len("gi"):]); !ok {
			return gpuID{}
		}
		d.mig, rest = true, after
	}
	if rest == "" {
		return d
	}
	vgpu, ok := strings.CutPrefix(rest, "vgpu")
	if _, isNumber := number(vgpu); !ok || !isNumber {
		return gpuID{}
	}
	return d
}

// parseIndex parses "0" and "0:1".
func parseIndex(s string) (d gpuID) {
	s, part, mig := strings.Cut(s, ":")
	gpu, ok := number(s)
	if !ok {
		return gpuID{}
	}
	d = gpuID{form: byIndex, gpu: gpu, mig: mig}
	if d.part, ok = number(part); mig && !ok {
		return gpuID{}
	}
	return d
}

// parseClaimed parses the name of a device in a resource claim, or if that is empty, the names of its devices for the
// container runtime (CDI).
func parseClaimed(driver, name string, cdi []string) gpuID {
	if driver != draDriver {
		return gpuID{form: byUUID, uuid: name}
	}
	if name != "" {
		return parseName(name)
	}
	for _, qualified := range cdi {
		_, name, _ := strings.Cut(qualified, "=")
		// Names of devices that are created for one claim begin with its UID.
		const uid = len("7f1e9c2a-0000-0000-0000-000000000000")
		if len(name) > uid && name[uid] == '-' && strings.Count(name[:uid], "-") == 4 &&
			!strings.HasPrefix(name, "gpu-") && !strings.HasPrefix(name, "GPU-") && !strings.HasPrefix(name, "MIG-") {
			name = name[uid+1:]
		}
		if d := parseName(name); d.form != noForm {
			return d
		}
		if d := parseIndex(name); d.form != noForm {
			return d
		}
	}
	return gpuID{}
}

func parseName(name string) (d gpuID) {
	if strings.HasPrefix(name, "GPU-") || strings.HasPrefix(name, "MIG-") {
		return gpuID{form: byUUID, uuid: name}
	}
	rest, ok := strings.CutPrefix(name, "gpu-")
	if !ok {
		return gpuID{}
	}
	if strings.HasPrefix(rest, "vfio-") {
		return gpuID{form: elsewhere}
	}
	s, mig, isMIG := strings.Cut(rest, "-mig-")
	if d.gpu, ok = number(s); !ok {
		return gpuID{}
	}
	d.form, d.mig = byName, isMIG
	if !isMIG {
		return d
	}
	parts := strings.Split(mig, "-")
	if len(parts) < 3 {
		return gpuID{}
	}
	at := len(parts) - 1
	if _, old := number(parts[0]); old && len(parts) == 3 {
		at--
	} else {
		d.profile = strings.Join(parts[:at-1], "-")
	}
	if d.part, ok = number(parts[at]); !ok {
		return gpuID{}
	}
	return d
}

// number parses a string of digits.
func number(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 31)
	return uint32(n), err == nil
}

// find returns the devices that the id may name: one unless the id is ambiguous.
func (d *gpuID) find(devices map[string]*device) (found []*device) {
	switch d.form {
	case noForm, elsewhere:
		return nil
	case byUUID:
		if one := devices[d.uuid]; one != nil && d.uuid != "" {
			return []*device{one}
		}
		return nil
	}
	for _, one := range devices {
		if d.matches(one.id) {
			found = append(found, one)
		}
	}
	return found
}

func (d *gpuID) matches(id *event.GpuDevice) bool {
	if d.mig != (id.GetParent() != "") {
		return false
	}
	gpu := id.Index
	if d.mig {
		gpu = id.ParentIndex
	}
	if id.Minor != nil && d.form != byIndex {
		gpu = id.Minor
	}
	if gpu == nil || *gpu != d.gpu {
		return false
	}
	if !d.mig {
		return true
	}
	switch d.form {
	case byIndex:
		return id.Index != nil && id.GetIndex() == d.part
	case byMinor:
		return id.GpuInstance != nil && id.GetGpuInstance() == d.part
	}
	if id.PlacementStart != nil {
		return id.GetPlacementStart() == d.part
	}
	// If the driver does not report the placement, the profile limits the candidates.
	return d.profile == "" || profile(id.GetName()) == "" || profile(id.GetName()) == d.profile
}

// profile returns the profile in a MIG device's name as claims write it: "1g10gb" for "NVIDIA H100 80GB HBM3 MIG
// 1g.10gb".
func profile(name string) string {
	_, p, _ := strings.Cut(name, " MIG ")
	return strings.Trim(strings.Map(func(c rune) rune {
		switch {
		case c == '.':
			return -1
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z':
			return c
		}
		return '-'
	}, strings.ToLower(p)), "-")
}
