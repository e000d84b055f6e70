package session

import (
	"reflect"
	"testing"
)

func TestAReportSurvivesTheLog(t *testing.T) {
	r := Report{
		Protocol: Protocol, Version: "v1", Kernel: "6.1", Arch: "aarch64", BTF: true, Cgroup: "hybrid",
		Granted: []string{"BPF"},
		Probes: []ProbeReport{{Kind: "flow", Hooks: []string{"tp_btf/x"},
			Programs: []ProgramReport{{Name: "x", Instructions: 7}}}, {Kind: "dns", Error: "a\nb", Unsupported: true}},
	}
	got, ok, err := ParseReport(r.Line() + "\n")
	if !ok || err != nil || !reflect.DeepEqual(*got, r) {
		t.Errorf("got %+v, %v, %v", got, ok, err)
	}
	if _, ok, err := ParseReport("time=… level=INFO"); ok || err != nil {
		t.Errorf("another line: %v, %v", ok, err)
	}
	for _, line := range []string{reportPrefix + "null", reportPrefix + "{", reportPrefix + "[]"} {
		if _, ok, err := ParseReport(line); !ok || err == nil {
			t.Errorf("%q: %v, %v", line, ok, err)
		}
	}
}

func FuzzParseReport(f *testing.F) {
	f.Add((&Report{Probes: []ProbeReport{{Kind: "flow"}}}).Line())
	f.Add(reportPrefix + "null")
	f.Fuzz(func(t *testing.T, line string) {
		r, ok, err := ParseReport(line)
		if (r != nil) != (ok && err == nil) {
			t.Errorf("%v, %v, %v", r, ok, err)
		}
	})
}
