package bpf

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// kernel makes the types of a kernel that has one helper and one struct.
func kernel(t *testing.T) *btf.Spec { return kernelWith(t, "val", "ringbuf_reserve") }

// kernelWith makes those of a kernel with these helpers, and a struct sock_cgroup_data with one member.
func kernelWith(t *testing.T, member string, helpers ...string) *btf.Spec {
	t.Helper()
	ids := &btf.Enum{Name: "bpf_func_id", Size: 4}
	for i, name := range helpers {
		ids.Values = append(ids.Values, btf.EnumValue{Name: "BPF_FUNC_" + name, Value: uint64(i)})
	}
	builder, err := btf.NewBuilder([]btf.Type{
		ids,
		&btf.Struct{Name: "sock_cgroup_data", Size: 8, Members: []btf.Member{
			{Name: member, Type: &btf.Int{Name: "u64", Size: 8}},
		}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := builder.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestCheckNamesWhatAKernelLacksAndSince(t *testing.T) {
	for name, test := range map[string]struct {
		need Need
		ok   bool
	}{
		"a helper it has":       {Need{"ring buffers", "5.8", HasHelper("ringbuf_reserve")}, true},
		"a helper it lacks":     {Need{"sockets of files", "5.11", HasHelper("sock_from_file")}, false},
		"a member it has":       {Need{"old sockets", "5.9", HasMember("sock_cgroup_data", "val")}, true},
		"a member it lacks":     {Need{"new sockets", "5.15", HasMember("sock_cgroup_data", "cgroup")}, false},
		"a struct it lacks":     {Need{"cabbage", "9.1", HasMember("cabbage", "leaf")}, false},
		"a tracepoint it lacks": {Need{"cgroup_mkdir", "5.5", HasTracepoint("cgroup_mkdir")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			err := Check(kernel(t), test.need)
			if test.ok {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var lacks *NotSupportedError
			if !errors.As(err, &lacks) || lacks.Feature != test.need.Feature || lacks.MinKernel != test.need.MinKernel {
				t.Fatalf("got %v", err)
			}
			if s := err.Error(); !strings.Contains(s, test.need.Feature) ||
				!strings.Contains(s, "Linux "+test.need.MinKernel) {
				t.Errorf("%q does not say what and since", s)
			}
		})
	}
}

func none() (*ebpf.CollectionSpec, error) { return nil, nil }

func TestIsPre515_ByRelease(t *testing.T) {
	for release, test := range map[string]struct {
		kernel        *btf.Spec
		pre515, limit bool
	}{
		"5.10": {kernelWith(t, "val", "ringbuf_reserve", "copy_from_user"), true, true},
		"5.11": {kernelWith(t, "val", "task_storage_get", "get_current_task_btf"), true, false},
		"5.12": {kernelWith(t, "val", "task_storage_get", "get_current_task_btf", "check_mtu"), true, false},
		"5.15": {kernelWith(t, "cgroup", "task_storage_get", "get_current_task_btf", "check_mtu", "task_pt_regs"),
			false, false},
	} {
		if got := IsPre515(test.kernel); got != test.pre515 {
			t.Errorf("%s counts as before 5.15: %v", release, got)
		}
		if v, _ := (Variants{Latest: none, Pre515: none}).choose(test.kernel); (v == Pre515) != test.pre515 {
			t.Errorf("%s gets the variant %d", release, v)
		}
		if v, _ := (Variants{Latest: none}).choose(test.kernel); v != Latest {
			t.Errorf("%s gets the variant %d of a probe that has one", release, v)
		}
		if got := chargesMemlock(test.kernel); got != test.limit {
			t.Errorf("%s holds maps to the limit of locked memory: %v", release, got)
		}
	}
}

func TestCheckCgroupRootKnowsVersionTwo(t *testing.T) {
	var lacks *NotSupportedError
	if err := CheckCgroupRoot(t.TempDir()); !errors.As(err, &lacks) {
		t.Errorf("a plain directory: %v", err)
	}
	if err := CheckCgroupRoot(t.TempDir() + "/none"); err == nil || errors.As(err, &lacks) {
		t.Errorf("no directory: %v", err)
	}
}

func TestTheClockAgreesWithGo(t *testing.T) {
	c, err := NewClock()
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now().UnixNano()
	mono := Monotonic()
	if exact, err := now(unix.CLOCK_MONOTONIC); err != nil || mono > uint64(exact) ||
		mono+uint64(time.Millisecond) < uint64(exact) {
		t.Errorf("Monotonic gave %d, the kernel %d, %v", mono, exact, err)
	}
	wall := int64(c.Wall(mono))
	after := time.Now().UnixNano()
	// Both readings bracket ours but for how far the two clocks moved apart since they were compared: µs.
	const slack = int64(time.Millisecond)
	if wall < before-slack || wall > after+slack {
		t.Errorf("%d is not between %d and %d", wall, before, after)
	}
	if c.Wall(0) != 0 {
		t.Error("unknown became known")
	}
}
