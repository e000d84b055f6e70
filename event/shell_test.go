package event

import (
	"os/exec"
	"strings"
	"testing"
	"unicode"
)

// words are what arguments may hold.
var words = []string{
	"", " ", "plain-word_1.2:3/4,5=6+7%8@9", "it's", "'", `\`, `back\slash`, `\x41`, "$HOME", "`id`", "!!",
	"a\nb\tc\rd", "\x1b[31mred", "\x01f", "\xff\xfeab", "é\u0085a",
	"\u202eevil\u202c", "日本", "\U000e0041b", "*", "~", "#x", "-n", "a;b&c|d>e", "\x7f0", "\u200b9",
}

func TestShell_ReadsExactlyTheArguments(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("needs bash")
	}
	e := &Exec{Phase: ExecPhase_EXEC_PHASE_EXEC, Args: []byte("printf\x00%s\\0\x00" + strings.Join(words, "\x00") +
		"\x00")}
	line := commandLine(e)
	cmd := exec.Command(bash, "-c", line)
	cmd.Env = []string{"LC_ALL=C.UTF-8"}
	out, err := cmd.Output()
	if want := strings.Join(words, "\x00") + "\x00"; err != nil || string(out) != want {
		t.Errorf("%v: the shell reads %q of %s, want %q", err, out, line, want)
	}
}

func TestACommandIsPrintable(t *testing.T) {
	for c := range 256 {
		e := &Exec{Args: []byte{byte(c), 'x', 0}}
		for _, r := range commandLine(e) {
			if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
				t.Errorf("byte %#x is shown with %q", c, r)
			}
		}
	}
}

func TestShell_InvalidUTF8IsExact(t *testing.T) {
	for in, want := range map[string]string{"": NotAvailable, "/a b": "/a b", "/\xff'": `$'/\xff\''`} {
		if got := exact([]byte(in)).String(); got != want {
			t.Errorf("%q is %s, want %s", in, got, want)
		}
	}
}

func FuzzCommandLine(f *testing.F) {
	for _, w := range words {
		f.Add([]byte(w + "\x00"))
	}
	f.Fuzz(func(t *testing.T, args []byte) {
		for _, r := range commandLine(&Exec{Args: args}) {
			if r < ' ' || r == 0x7f || r == unicode.ReplacementChar &&
				!strings.ContainsRune(string(args), unicode.ReplacementChar) {
				t.Fatalf("%q is shown with %q", args, r)
			}
		}
	})
}
