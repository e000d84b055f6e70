package export

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/event"
	"github.com/orb8-dev/kubectl-orb8/event/otlp"
	"github.com/orb8-dev/kubectl-orb8/internal/exportconfig"
)

var update = flag.Bool("update", false, "write the generated docs")

const page = "../../docs/otlp.md"

// attributesMarkdown is the reference of all attributes, by kind. Ends of connections have theirs once.
func attributesMarkdown() string {
	var b bytes.Buffer
	b.WriteString("### Attributes\n")
	for _, k := range event.Kinds() {
		if k.Row || k.Payload {
			continue
		}
		fmt.Fprintf(&b, "\n`%s`: %s\n\n| attribute | field |\n|---|---|\n", otlp.EventName(k.Name), k.Doc)
		var own []string
		for _, a := range otlp.AttributesOf(k) {
			if a.Standard {
				fmt.Fprintf(&b, "| `%s` | `%s` |\n", a.Name, a.Field)
			} else {
				own = append(own, "`"+strings.TrimPrefix(a.Name, otlp.Prefix)+"`")
			}
		}
		line := "\nand with `" + otlp.Prefix + "` before:"
		for i, name := range own {
			if i < len(own)-1 {
				name += ","
			}
			if len(line)+len(name) >= 118 {
				b.WriteString(line + "\n")
				line = name
				continue
			}
			line += " " + name
		}
		b.WriteString(line + ".\n")
	}
	return b.String()
}

func TestDocsAreCurrent(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	begin, rest, ok := strings.Cut(string(text), "<!-- attributes: ")
	head, rest, ok2 := strings.Cut(rest, "-->\n")
	_, end, ok3 := strings.Cut(rest, "<!-- end of attributes -->")
	if !ok || !ok2 || !ok3 {
		t.Fatalf("%s has no place for attributes", page)
	}
	want := begin + "<!-- attributes: " + head + "-->\n\n" + attributesMarkdown() + "\n<!-- end of attributes -->" + end
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want != string(text) {
		t.Errorf("%s is not what the attributes are: go test ./agent/export -run Docs -update", page)
	}
}

// key is a row of a table whose first cell names keys.
var key = regexp.MustCompile("(?m)^\\| (`[^|]*`) \\|")

// TestDocs_HaveAllKeys holds the table of the configuration against Config.
func TestDocs_HaveAllKeys(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Configuration\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var documented []string
	for _, row := range key.FindAllStringSubmatch(section, -1) {
		documented = append(documented, row[1])
	}
	cells := strings.Join(documented, " ")
	separator := func(r rune) bool { return strings.ContainsRune(" ,()", r) }
	for name := range strings.FieldsFuncSeq(exportconfig.Keys, separator) {
		if name != "tls" && !strings.Contains(cells, "`"+name+"`") && !strings.Contains(cells, "`tls."+name+"`") {
			t.Errorf("%s has no row for %s", page, name)
		}
	}
	for _, reason := range []Reason{Overflow, Refused, Expired, Ended, Unreadable, Replaced} {
		if !strings.Contains(string(text), "\n| `"+reason.String()+"` |") {
			t.Errorf("%s has no row for the reason %v", page, reason)
		}
	}
}
