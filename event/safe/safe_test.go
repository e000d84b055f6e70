package safe

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestTextShowsWhatATerminalWouldDo(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "",
		"plain text ~!":            "plain text ~!",
		"日本語 ñ µs":                 "日本語 ñ µs",
		"a\nb\tc\rd":               `a\nb\tc\rd`,
		"\x1b[2J\x07\x7f\x00":      `\x1b[2J\x07\x7f\x00`,
		"\u0085\u009b":             `\u0085\u009b`,
		"exe.\u202efdp":            `exe.\u202efdp`,
		"\u2066\u2069\u200e\u200f": `\u2066\u2069\u200e\u200f`,
		"a\u200bb\ufeff\u00a0":     `a\u200bb\ufeff\u00a0`,
		"\u2028\u2029":             `\u2028\u2029`,
		"\U000e0041":               `\U000e0041`,
		"\xff\xc0\xaf":             `\xff\xc0\xaf`,
		"\xed\xa0\x80":             `\xed\xa0\x80`,
		"cut \xe6\x97":             `cut \xe6\x97`,
	} {
		if got := Text(in); got != want {
			t.Errorf("%q shows as %s, want %s", in, got, want)
		}
		if got := string(AppendBytes([]byte("x"), []byte(in))); got != "x"+want {
			t.Errorf("bytes %q show as %s", in, got)
		}
	}
}

func TestQuoted(t *testing.T) {
	const in = "a\"\\\n\x1b\u202e\U000e0041日\xff"
	if got := string(AppendJSON(nil, in)); got != `"a\"\\\n\u001b\u202e\udb40\udc41日\ufffd"` {
		t.Errorf("JSON is %s", got)
	}
	if got := string(AppendYAML(nil, in)); got != `"a\"\\\n\u001b\u202e\U000e0041日\ufffd"` {
		t.Errorf("YAML is %s", got)
	}
}

// TestAppendJSON_AnyByteAnywhere has each byte at each place of a name.
func TestAppendJSON_AnyByteAnywhere(t *testing.T) {
	const name = "web-6c7f9d5b8-x2x9z"
	for at := range len(name) {
		for c := range 256 {
			s := name[:at] + string([]byte{byte(c)}) + name[at+1:]
			got := AppendJSON(nil, s)
			harmless(t, string(got))
			escaped := c < ' ' || c > '~' || c == '"' || c == '\\'
			if same := string(got) == `"`+s+`"`; same == escaped {
				t.Errorf("%q is %s", s, got)
			}
			var back string
			if err := json.Unmarshal(got, &back); err != nil || back != string([]rune(s)) {
				t.Errorf("%q comes back as %q: %v", s, back, err)
			}
		}
	}
}

func Fuzz(f *testing.F) {
	for _, s := range []string{"web", "\x1b[2J", "\u202e", "\U000e0041\u2028", "\xff\xed\xa0\x80", `\u202e"`, "日本"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text := Text(s)
		harmless(t, text)
		if got := string(AppendBytes(nil, []byte(s))); got != text {
			t.Errorf("bytes give %q, text %q", got, text)
		}
		if Text(text) != text {
			t.Errorf("%q is not stable", text)
		}
		for _, quoted := range [][]byte{AppendJSON(nil, s), AppendYAML(nil, s)} {
			harmless(t, string(quoted))
		}
		var back string
		if err := json.Unmarshal(AppendJSON(nil, s), &back); err != nil {
			t.Fatal(err)
		}
		if want := string([]rune(s)); back != want { // invalid bytes become U+FFFD one by one
			t.Errorf("%q comes back as %q", s, back)
		}
	})
}

// harmless holds the text against Unicode's own tables.
func harmless(t *testing.T, text string) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Errorf("%q is not UTF-8", text)
	}
	for _, r := range text {
		if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Cs, unicode.Zl, unicode.Zp) ||
			unicode.Is(unicode.Bidi_Control, r) {
			t.Errorf("%q holds %U", text, r)
		}
	}
}

func BenchmarkText(b *testing.B) {
	s := strings.Repeat("client-6c7f9d5b8-x2x9z ", 2) + strconv.Itoa(b.N)
	buf := make([]byte, 0, 128)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendText(buf[:0], s)
	}
}
