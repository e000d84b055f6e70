package plugin

import (
	"slices"
	"strings"
	"testing"
)

func TestGPUFlags_Validate(t *testing.T) {
	for _, test := range []struct {
		o     gpuOptions
		kinds []string
		want  string
	}{
		{gpuOptions{runtimeClass: "auto"}, []string{"flow"}, ""},
		{gpuOptions{}, []string{"flow"}, ""},
		{gpuOptions{runtimeClass: "auto", library: "/usr/lib/x"}, []string{"flow"},
			"--nvml-library goes with trace gpu and doctor --gpu"},
		{gpuOptions{runtimeClass: "mine"}, []string{"flow"},
			"--gpu-runtime-class goes with trace gpu and doctor --gpu"},
		{gpuOptions{runtimeClass: "mine", library: "/usr/lib/x"}, []string{"flow", "gpu"}, ""},
		{gpuOptions{runtimeClass: "auto", library: "lib"}, []string{"gpu"},
			`--nvml-library "lib": want an absolute path`},
		{gpuOptions{runtimeClass: "auto", cudaLibrary: "lib"}, []string{"gpu"},
			`--cuda-library "lib": want an absolute path`},
		{gpuOptions{runtimeClass: "auto", cudaLibrary: "/usr/lib/x"}, []string{"flow"},
			"--cuda-library goes with trace gpu and doctor --gpu"},
		{gpuOptions{runtimeClass: "auto", cudaLibrary: "/usr/lib/x"}, []string{"gpu"}, ""},
		{gpuOptions{runtimeClass: "auto", podResources: "/run/k/{node}.sock"}, []string{"gpu"}, ""},
		{gpuOptions{runtimeClass: "auto", podResources: "/run/k.sock"}, []string{"flow"},
			"--pod-resources goes with trace gpu and doctor --gpu"},
		{gpuOptions{runtimeClass: "auto", podResources: "k.sock"}, []string{"gpu"},
			`--pod-resources "k.sock": want an absolute path`},
		{gpuOptions{}, []string{"gpu"}, "--gpu-runtime-class: want a name, auto or none"},
	} {
		c, err := test.o.complete(test.kinds)
		if test.want == "" &&
			(err != nil || (c != nil) != slices.Contains(test.kinds, "gpu") ||
				c.GetLibrary() != map[bool]string{true: test.o.library}[c != nil] ||
				c.GetCudaLibrary() != map[bool]string{true: test.o.cudaLibrary}[c != nil] ||
				c.GetPodResources() != test.o.podResources) {
			t.Errorf("%+v: %v, %v", test, c, err)
		}
		if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%+v: %v", test, err)
		}
	}
}
