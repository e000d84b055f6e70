package terminal

import (
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
)

func TestDescribe_ReadsTheEnvironment(t *testing.T) {
	for _, test := range []struct {
		goos, environment string
		want              Terminal
	}{
		{"linux", "", Terminal{}},
		{"linux", "LANG=C", Terminal{ASCII: true}},
		{"linux", "LC_ALL=POSIX LANG=en_US.UTF-8", Terminal{ASCII: true}},
		{"linux", "LC_ALL=C.UTF-8 LANG=C", Terminal{}},
		{"linux", "LC_CTYPE=de_DE.utf8 LANG=C", Terminal{}},
		{"linux", "LANG=de_DE@euro", Terminal{ASCII: true}},
		{"linux", "LANG=de_DE.ISO-8859-15@euro", Terminal{ASCII: true}},
		{"linux", "LANG=ca_ES.UTF-8@valencia TERM=dumb", Terminal{Dumb: true}},
		{"darwin", "LC_CTYPE=UTF-8", Terminal{}},
		{"windows", "LANG=C TERM=cygwin", Terminal{}},
	} {
		got := describe(test.goos, func(name string) string {
			for variable := range strings.FieldsSeq(test.environment) {
				if value, ok := strings.CutPrefix(variable, name+"="); ok {
					return value
				}
			}
			return ""
		})
		if got != test.want {
			t.Errorf("%s, %q: %+v, want %+v", test.goos, test.environment, got, test.want)
		}
	}
}

func TestColumns_KeepTheirWidth(t *testing.T) {
	onlyASCII := Terminal{ASCII: true}
	for text, want := range map[string]string{
		"RTT 12µs  ▁▂▃▄▅▆▇█ 1 − x":  "RTT 12us  .:-=+*%# 1 - x",
		"╭─╮\n│█▌│\n╰─╯":            "+-+\n|##|\n+-+",
		"\x1b[31m…\x1b[0m ▶ web":    "\x1b[31m~\x1b[0m > web",
		"訂單 e\u0301 👩‍👩‍👧‍👦":        "???? e ??",
		"\xff\xfe no text":          "?? no text",
		"plain text is not changed": "plain text is not changed",
	} {
		got := onlyASCII.Columns(text)
		if got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
		if strings.ToValidUTF8(text, "") == text && ansi.StringWidth(got) != ansi.StringWidth(text) {
			t.Errorf("%q is %d wide, %q is %d", text, ansi.StringWidth(text), got, ansi.StringWidth(got))
		}
		if got := (Terminal{}).Columns(text); got != text {
			t.Errorf("%q becomes %q where UTF-8 is shown", text, got)
		}
	}
	if got := onlyASCII.Line("… and 3 more, 5µs"); got != "... and 3 more, 5us" {
		t.Errorf("a line becomes %q", got)
	}
}

func TestWriter_JoinsSplitCharacters(t *testing.T) {
	var out strings.Builder
	w := Terminal{ASCII: true}.Writer(&out)
	text := "a µ ─ 👍 \xffb\n"
	for i := range len(text) {
		if n, err := w.Write([]byte(text[i : i+1])); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	if got := out.String(); got != "a u - ?? ?b\n" {
		t.Errorf("%q", got)
	}
}
