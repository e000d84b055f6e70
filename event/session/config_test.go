package session

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
)

func TestConfig_IsReadAsWritten(t *testing.T) {
	for name, c := range map[string]*Config{
		"none": nil,
		"GPUs": {Kinds: []string{"gpu"}, Gpu: &GpuConfig{Library: "/lib/x y", PodResources: "/run/{node}.sock"}},
	} {
		got, err := ParseConfig(c.Encode())
		if err != nil || !proto.Equal(got, proto.CloneOf(c)) && c != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		if strings.ContainsAny(c.Encode(), " =/+") || (c == nil) != (c.Encode() == "") {
			t.Errorf("%s: %q", name, c.Encode())
		}
	}
	if got, err := ParseConfig(""); err != nil || got.GetGpu() != nil {
		t.Errorf("empty: %v, %v", got, err)
	}
}

func TestConfig_RefusesWhatIsNone(t *testing.T) {
	relative := &Config{Gpu: &GpuConfig{CudaLibrary: "lib"}}
	for text, want := range map[string]string{
		"!":               "illegal base64",
		"_w":              "proto",
		relative.Encode(): `--cuda-library "lib": want an absolute path`,
	} {
		if _, err := ParseConfig(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
