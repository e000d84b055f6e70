package seccomp

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParse_Errors(t *testing.T) {
	const errno = `{"defaultAction":"SCMP_ACT_ERRNO"`
	for text, want := range map[string]string{
		``:                                      "it is empty",
		`{"defaultAction": `:                    "line 1, column 19: the file ends within",
		"{\n \"defaultAction\": x":              "line 2, column 19: invalid character 'x'",
		`{"defaultAction":"SCMP_ACT_ERRNO"} {}`: "line 1, column 36: want the end",
		`{}`:                                    "defaultAction is missing",
		`{"defaultAction":"ERRNO"}`:             `defaultAction: "ERRNO" is no action`,
		errno + `,"sycalls":[]}`:                `line 1, column 35: unknown field "sycalls"`,
		errno + `,"syscalls":{}}`:               "syscalls is object, want a list",
		errno + `,"architectures":["x86_64"]}`:  `architectures[0]: "x86_64" is no architecture`,
		errno + `,"syscalls":[{"names":["read"],"action":"ALLOW"}]}`: "syscalls[0].action",
		errno + `,"syscalls":[{"action":"SCMP_ACT_ALLOW"}]}`:         "syscalls[0].names",
		errno + `,"syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW",
			"args":[{"index":6,"op":"SCMP_CMP_EQ"}]}]}`: "syscalls[0].args[0].index: 6",
		errno + `,"syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW",
			"args":[{"index":0,"op":"EQ"}]}]}`: "syscalls[0].args[0].op",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// parse reads a profile that allows some calls.
func parse(t *testing.T, text string) *Profile {
	t.Helper()
	p, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAudit(t *testing.T) {
	o := NewObserved()
	for name, calls := range map[string]uint64{"bind": 3, "ptrace": 2, "clone": 4, "pivot_root": 1, "mount": 1} {
		o.Add(summary(name, calls, 0))
	}
	allowed, err := json.Marshal(slices.Concat(base, []string{"bind", "acct", "open"}))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ profile, want string }{
		"refuses": {fmt.Sprintf(`{"defaultAction":"SCMP_ACT_ERRNO","archMap":[{"architecture":"SCMP_ARCH_X86_64"}],
			"syscalls":[{"names":%s,"action":"SCMP_ACT_ALLOW"},{"names":["clone"],"action":"SCMP_ACT_ALLOW",
			"args":[{"index":0,"value":2114060288,"op":"SCMP_CMP_MASKED_EQ"}]}]}`, allowed),
			"refused [ptrace], depends [clone], unused [acct open], left [mount pivot_root], runtime [], rest false"},
		"allows the rest": {`{"defaultAction":"SCMP_ACT_LOG","syscalls":[{"name":"bind","action":"SCMP_ACT_TRAP"}]}`,
			"refused [bind], depends [], unused [], left [], runtime [], rest true"},
		"starts no container": {fmt.Sprintf(`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":
			["bind","ptrace","clone"%s],"action":"SCMP_ACT_ALLOW"}]}`, `,"`+strings.Join(base[1:], `","`)+`"`),
			"refused [], depends [], unused [], left [mount pivot_root], runtime [capget], rest false"},
		"another architecture": {`{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_AARCH64"]}`,
			"refused [bind clone ptrace], depends [], unused [], left [mount pivot_root], runtime [], rest true"},
	} {
		t.Run(name, func(t *testing.T) {
			a := o.Audit(parse(t, test.profile))[0]
			got := fmt.Sprintf("refused %v, depends %v, unused %v, left %v, runtime %v, rest %v", names(a.Refused),
				names(a.Depends), a.Unused, a.Left, a.Runtime, a.AllowsRest)
			if got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

func names(calls []AuditedCall) []string {
	all := []string{}
	for _, c := range calls {
		all = append(all, c.Name)
	}
	return all
}

// TestAudit_OwnAdvice finds nothing in the profile that the same observation gives.
func TestAudit_OwnAdvice(t *testing.T) {
	o := NewObserved()
	for _, name := range []string{"bind", "clone", "pivot_root", "mount"} {
		o.Add(summary(name, 3, 0))
	}
	text, err := json.Marshal(o.Advise(Options{Length: time.Hour})[0].Profile)
	if err != nil {
		t.Fatal(err)
	}
	if a := o.Audit(parse(t, string(text)))[0]; len(a.Refused)+len(a.Depends)+len(a.Unused)+len(a.Runtime) > 0 {
		t.Errorf("%+v", a)
	}
}

func TestUnknownNames(t *testing.T) {
	p := parse(t, `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["opne","read"],"action":"SCMP_ACT_ALLOW"}]}`)
	if got := p.UnknownNames(); !slices.Equal(got, []string{"opne"}) || Suggest("opne") != "open" {
		t.Errorf("%q, %q", got, Suggest("opne"))
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}`))
	f.Add([]byte(`{"defaultAction":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse(data)
		if err != nil {
			return
		}
		p.UnknownNames()
		o := NewObserved()
		o.Add(summary("bind", 1, 0))
		o.Audit(p)
	})
}
