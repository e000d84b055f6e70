package plugin

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/orb8-dev/kubectl-orb8/history"
)

// quick is a recording of one lookup, which took 120 µs.
func quick(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.orb8")
	w, err := history.Create(path, history.Session{Version: "v9", Kinds: []string{"dns"}, Targets: "「pods」",
		Namespace: "shop", Started: began})
	if err != nil {
		t.Fatal(err)
	}
	ev := lookup("db", "example.", "NOERROR")
	ev.Time, ev.Node, ev.Container = uint64(began.UnixNano()), "n1", "ü"
	ev.GetDns().LatencyMicros = new(uint64(120))
	if err := w.Write(ev); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTerminal_LocaleDecidesTheCharacters(t *testing.T) {
	path := quick(t)
	for _, test := range []struct{ locale, output, want string }{
		{"C", "", " 120us "},
		{"C.UTF-8", "", " 120µs "},
		{"C", "json", `"container":"ü"`}, // for programs
		{"C", "custom-columns=C:.container", "ü\n"},
	} {
		t.Setenv("LC_ALL", test.locale)
		args := []string{"replay", path}
		if test.output != "" {
			args = append(args, "-o", test.output)
		}
		code, out, errOut := orb8(t, nil, args...)
		if code != ExitOK || !strings.Contains(out, test.want) {
			t.Errorf("%s, -o %q: exit code %d: %q has no %q: %s", test.locale, test.output, code, out, test.want,
				errOut)
		}
		if ascii := !strings.Contains(errOut, "「pods」"); ascii != (test.locale == "C") {
			t.Errorf("%s: stderr %q", test.locale, errOut)
		}
	}
	t.Setenv("LC_ALL", "C")
	_, out, _ := orb8(t, nil, "replay", "--help")
	_, _, errOut := orb8(t, nil, "replay", "ü")
	if all := out + errOut; strings.ContainsFunc(all, func(r rune) bool { return r >= 0x80 }) ||
		!strings.Contains(out, "jsonpath=~") {
		t.Errorf("help and errors are not ASCII: %s", all)
	}
}

func TestTerminal_DumbOnesHaveNoScreen(t *testing.T) {
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err) // macOS and Windows have others
	}
	defer pty.Close()
	streams := genericiooptions.IOStreams{In: pty, Out: pty}
	for term, want := range map[string]bool{"xterm-256color": true, "dumb": false} {
		t.Setenv("TERM", term)
		if got := hasScreen(streams); got != want {
			t.Errorf("TERM=%s has a screen: %t", term, got)
		}
	}
}
