//go:build linux

package gpu

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/event"
)

func u32(n uint32) *uint32 { return &n }

// gpuNode is two GPUs, the second with three MIG devices, whose device files are not in the order of their indices.
func gpuNode(change ...func(*event.GpuDevice)) map[string]*device {
	devices := map[string]*device{}
	for _, id := range []*event.GpuDevice{
		{Uuid: "GPU-aa", Index: u32(0), Minor: u32(1), Name: "NVIDIA A100"},
		{Uuid: "GPU-bb", Index: u32(1), Minor: u32(0), Name: "NVIDIA A100"},
		{Uuid: "MIG-1", Index: u32(0), Parent: "GPU-bb", ParentIndex: u32(1), Minor: u32(0), GpuInstance: u32(7),
			ComputeInstance: u32(0), PlacementStart: u32(4), Name: "NVIDIA A100 MIG 1g.10gb"},
		{Uuid: "MIG-2", Index: u32(1), Parent: "GPU-bb", ParentIndex: u32(1), Minor: u32(0), GpuInstance: u32(8),
			ComputeInstance: u32(0), PlacementStart: u32(6), Name: "NVIDIA A100 MIG 1g.10gb"},
		{Uuid: "MIG-3", Index: u32(2), Parent: "GPU-bb", ParentIndex: u32(1), Minor: u32(0), GpuInstance: u32(2),
			ComputeInstance: u32(0), PlacementStart: u32(0), Name: "NVIDIA A100 MIG 3g.40gb+me"},
	} {
		for _, c := range change {
			c(id)
		}
		devices[id.GetUuid()] = &device{id: id}
	}
	return devices
}

func found(d gpuID, devices map[string]*device) string {
	var list []string
	for _, one := range d.find(devices) {
		list = append(list, one.id.GetUuid())
	}
	slices.Sort(list)
	return strings.Join(list, ",")
}

func TestParseDevice_FindsDevice(t *testing.T) {
	all := gpuNode()
	noMinor := gpuNode(func(d *event.GpuDevice) { d.Minor = nil })
	for _, test := range []struct{ what, resource, id, want string }{
		{"NVIDIA's", "nvidia.com/gpu", "GPU-aa", "GPU-aa"},
		{"a MIG device of the single strategy", "nvidia.com/gpu", "MIG-2", "MIG-2"},
		{"a MIG device of the mixed strategy", "nvidia.com/mig-1g.10gb", "MIG-1", "MIG-1"},
		{"a replica of time-slicing or MPS", "nvidia.com/gpu.shared", "GPU-aa::3", "GPU-aa"},
		{"a replica under the plain name", "nvidia.com/gpu", "GPU-aa::0", "GPU-aa"},
		{"a replica of a MIG device", "nvidia.com/mig-1g.10gb.shared", "MIG-2::11", "MIG-2"},
		{"a resource of another name", "example.com/big-gpu", "GPU-bb", "GPU-bb"},
		{"an index", "nvidia.com/gpu", "0", "GPU-aa"},
		{"an index of a MIG device", "nvidia.com/mig-3g.40gb", "1:2", "MIG-3"},
		{"an index of a replica", "nvidia.com/gpu", "1::4", "GPU-bb"},
		{"GKE's, which counts device files", "nvidia.com/gpu", "nvidia0", "GPU-bb"},
		{"GKE's of a MIG device, by its GPU instance", "nvidia.com/gpu", "nvidia0/gi7", "MIG-1"},
		{"GKE's with time-sharing", "nvidia.com/gpu", "nvidia1/vgpu2", "GPU-aa"},
		{"GKE's with time-sharing of a MIG device", "nvidia.com/gpu", "nvidia0/gi8/vgpu0", "MIG-2"},
		{"an unknown UUID", "nvidia.com/gpu", "GPU-cc", ""},
		{"GKE's of no device", "nvidia.com/gpu", "nvidia7", ""},
		{"GKE's of no GPU instance", "nvidia.com/gpu", "nvidia0/gi9", ""},
		{"another vendor's number", "example.com/fpga", "0", ""},
		{"another vendor's of GKE's looks", "example.com/fpga", "nvidia0", ""},
		{"a network card's", "nvidia.com/hostdev", "0", ""},
		{"nothing", "nvidia.com/gpu", "", ""},
	} {
		if got := found(parseDevice(test.resource, test.id), all); got != test.want {
			t.Errorf("%s, %s %q: %q, want %q", test.what, test.resource, test.id, got, test.want)
		}
	}
	if got := found(parseDevice("nvidia.com/gpu", "nvidia0"), noMinor); got != "GPU-aa" {
		t.Errorf("where device files' numbers are not known, indices stand for them: %q", got)
	}
}

func TestParseClaimed_FindsDevice(t *testing.T) {
	all := gpuNode()
	noPlacement := gpuNode(func(d *event.GpuDevice) { d.PlacementStart = nil })
	const uid = "0e5f7c5c-6a3e-4a1e-9d52-0b1f6e6f2a11"
	for _, test := range []struct {
		what, driver, name string
		cdi                []string
		want, without      string
	}{
		{"a GPU, by its device file", draDriver, "gpu-1", nil, "GPU-aa", "GPU-aa"},
		{"a MIG device of newer drivers", draDriver, "gpu-0-mig-1g10gb-19-6", nil, "MIG-2", "MIG-1,MIG-2"},
		{"one whose profile has a plus", draDriver, "gpu-0-mig-3g40gb-me-9-0", nil, "MIG-3", "MIG-3"},
		{"a MIG device of older drivers", draDriver, "gpu-0-mig-19-4-1", nil, "MIG-1", "MIG-1,MIG-2,MIG-3"},
		{"one that was taken down", draDriver, "gpu-0-mig-1g10gb-19-2", nil, "", "MIG-1,MIG-2"},
		{"one of a virtual machine", draDriver, "gpu-vfio-0", nil, "", ""},
		{"a name for the runtime alone", draDriver, "", []string{"k8s.gpu.nvidia.com/device=gpu-0"}, "GPU-bb",
			"GPU-bb"},
		{"one that was made for the claim", draDriver, "", []string{"k8s.gpu.nvidia.com/claim=" + uid + "-gpu-1"},
			"GPU-aa", "GPU-aa"},
		{"one of NVIDIA's container toolkit", draDriver, "", []string{"nvidia.com/gpu=1:1"}, "MIG-2", "MIG-2"},
		{"one of it by UUID", draDriver, "", []string{"nvidia.com/gpu=GPU-aa"}, "GPU-aa", "GPU-aa"},
		{"all", draDriver, "", []string{"nvidia.com/gpu=all"}, "", ""},
		{"another driver's", "gpu.example.com", "gpu-0", nil, "", ""},
		{"another driver's that is called by UUID", "gpu.example.com", "GPU-aa", nil, "GPU-aa", "GPU-aa"},
		{"a channel between nodes", "compute-domain.nvidia.com", "channel-0", nil, "", ""},
		{"nothing", draDriver, "", nil, "", ""},
	} {
		d := parseClaimed(test.driver, test.name, test.cdi)
		if got := found(d, all); got != test.want {
			t.Errorf("%s, %q %q: %q, want %q", test.what, test.name, test.cdi, got, test.want)
		}
		if got := found(d, noPlacement); got != test.without {
			t.Errorf("%s, %q %q, placement not known: %q, want %q", test.what, test.name, test.cdi, got, test.without)
		}
	}
	if d := parseName("gpu-vfio-0"); d.form != elsewhere {
		t.Errorf("a virtual machine's is known to be: %v", d)
	}
}

// FuzzIDs: whatever an id is, it is one device's, several MIG devices' of one GPU, or nobody's.
func FuzzIDs(f *testing.F) {
	for _, id := range []string{"GPU-aa::3", "nvidia0/gi7/vgpu0", "1:2", "gpu-0-mig-1g10gb-19-6", "gpu-0-mig-19-4-1",
		"gpu-vfio-0", "nvidia.com/gpu=0", "", "nvidia0/gi", "gpu--mig---", "99999999999"} {
		f.Add("nvidia.com/gpu", id)
		f.Add("example.com/x", id)
	}
	devices := gpuNode()
	f.Fuzz(func(t *testing.T, resource, id string) {
		for what, d := range map[string]gpuID{
			"device": parseDevice(resource, id), "claim": parseClaimed(resource, id, nil),
			"own claim": parseClaimed(draDriver, id, nil), "cdi": parseClaimed(draDriver, "", []string{id}),
		} {
			list := d.find(devices)
			if len(list) > 0 && (d.form == noForm || d.form == elsewhere) {
				t.Errorf("%s %q: no form, and yet %v", what, id, list)
			}
			for _, one := range list[min(1, len(list)):] {
				if one.id.GetParent() == "" || one.id.GetParent() != list[0].id.GetParent() {
					t.Errorf("%s %q: %s and %s", what, id, list[0].id.GetUuid(), one.id.GetUuid())
				}
			}
			if d.form == byUUID && len(list) == 1 && !strings.Contains(id, list[0].id.GetUuid()) {
				t.Errorf("%s %q is matched with %s", what, id, list[0].id.GetUuid())
			}
			if len(list) > 0 && d.form != byUUID && what == "device" && !ofGPUs(resource) {
				t.Errorf("%s of another vendor: %v", fmt.Sprintf("%s %q", resource, id), list)
			}
		}
	})
}
