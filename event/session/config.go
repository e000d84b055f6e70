package session

import (
	"encoding/base64"
	"fmt"
	"path"

	"google.golang.org/protobuf/proto"
)

// Encode writes the configuration for an environment variable; an empty one is "".
func (c *Config) Encode() string {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(c)
	if err != nil {
		panic(err) // only invalid UTF-8, which neither flags nor names of kinds hold
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// ParseConfig reads what Encode has written.
func ParseConfig(text string) (*Config, error) {
	c := new(Config)
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = proto.Unmarshal(b, c)
	}
	if err == nil {
		err = c.GetGpu().Check()
	}
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return c, nil
}

// Check reports the first path that is not absolute, by the flag that gives it.
func (c *GpuConfig) Check() error {
	for _, p := range []struct{ flag, path, example string }{
		{"nvml-library", c.GetLibrary(), "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1"},
		{"cuda-library", c.GetCudaLibrary(), "/usr/lib/x86_64-linux-gnu/libcuda.so.1"},
		{"pod-resources", c.GetPodResources(), "/var/lib/kubelet/pod-resources/kubelet.sock"},
	} {
		if p.path != "" && !path.IsAbs(p.path) {
			return fmt.Errorf("--%s %q: want an absolute path on the nodes, such as %s", p.flag, p.path, p.example)
		}
	}
	return nil
}
