package version

import (
	"runtime/debug"
	"testing"
)

func TestVersionComesFromTheBestSourceThereIs(t *testing.T) {
	vcs := []debug.BuildSetting{
		{Key: "vcs.revision", Value: "0123456789abcdef0123456789abcdef01234567"},
		{Key: "vcs.modified", Value: "true"},
	}
	for _, test := range []struct {
		name   string
		linked string
		info   *debug.BuildInfo
		want   string
	}{
		{"the linker's word goes first", "v1.2.3", &debug.BuildInfo{Main: debug.Module{Version: "v9.9.9"}}, "v1.2.3"},
		{"then the module's", "", &debug.BuildInfo{Main: debug.Module{Version: "v1.4.0"}, Settings: vcs}, "v1.4.0"},
		{"a dirty module version fits an image tag", "", &debug.BuildInfo{Main: debug.Module{Version: "v1.4.0+dirty"}},
			"v1.4.0-dirty"},
		{"then the commit", "", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: vcs},
			"v0.0.0-0123456789ab-dirty"},
		{"a commit too short to be one is none", "",
			&debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "01"}}}, Unknown},
		{"then nothing", "", nil, Unknown},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := resolve(test.linked, test.info); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
