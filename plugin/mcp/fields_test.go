package mcp

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"github.com/orb8-dev/kubectl-orb8/event/safe"
)

func TestFields_ReduceRows(t *testing.T) {
	const row = `{"schemaVersion":2,"kind":"flow","id":"x","src":{"pod":"web","port":4000},"dst":null,` +
		`"bytesSent":18446744073709551615,"startTime":"2026-11-30T00:00:00Z"}`
	for names, want := range map[string]string{
		"":                             row,
		"bytesSent":                    `{"kind":"flow","bytesSent":18446744073709551615}`,
		"src.pod bytesSent":            `{"kind":"flow","src":{"pod":"web"},"bytesSent":18446744073709551615}`,
		"src.pod src.port":             `{"kind":"flow","src":{"pod":"web","port":4000}}`,
		"src.pod src":                  `{"kind":"flow","src":{"pod":"web","port":4000}}`,
		"src src.pod":                  `{"kind":"flow","src":{"pod":"web","port":4000}}`,
		"dst.pod kind":                 `{"kind":"flow","dst":null}`,
		"name":                         `{"kind":"flow"}`, // of the other kind
		"id startTime":                 `{"kind":"flow","id":"x","startTime":"2026-11-30T00:00:00Z"}`,
		"error: srcc.pod":              "unknown field",
		"error: src.":                  "unknown field",
		"error: dst.pod bytesSent xyz": "unknown field",
	} {
		names, wrong := strings.CutPrefix(names, "error: ")
		f, err := newFields(strings.Fields(names), []string{"flow", "dns"})
		if wrong {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v", names, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", names, err)
			continue
		}
		got := []byte(row)
		if f != nil {
			if got, err = f.appendRow(nil, got); err != nil {
				t.Errorf("%s: %v", names, err)
			}
		}
		if string(got) != want {
			t.Errorf("%s: %s, want %s", names, got, want)
		}
	}
}

func TestVisibleRow_ShowsWhatIsHidden(t *testing.T) {
	for in, want := range map[string]string{
		`{}`: `{}`, `{"a":[]}`: `{"a":[]}`, `{"a":{},"b":[{},{"c":1}]}`: `{"a":{},"b":[{},{"c":1}]}`,
		`{"n":18446744073709551615}`:                    `{"n":18446744073709551615}`,
		`{"f":1.50,"t":true,"x":null}`:                  `{"f":1.50,"t":true,"x":null}`,
		`{"a":"<b> & \"c\" \\ é日"}`:                     `{"a":"<b> & \"c\" \\ é日"}`,
		`{"a":"x\ny\u202e\udb40\udc41\u200b\u001b[2J"}`: `{"a":"x\\ny\\u202e\\U000e0041\\u200b\\x1b[2J"}`,
		`{"\u202ea":["\u202e",["\t"]]}`:                 `{"\\u202ea":["\\u202e",["\\t"]]}`,
	} {
		got, err := visibleRow([]byte(in))
		if err != nil || string(got) != want {
			t.Errorf("%s: %s, %v; want %s", in, got, err, want)
		}
	}
	for _, in := range []string{``, `[]`, `1`, `"a"`, `{`, `{"a"`, `{"a":}`, `{}{}`, `{"a":1}x`, `{"a":1}]`, `x`} {
		if got, err := visibleRow([]byte(in)); err == nil {
			t.Errorf("%s: %s", in, got)
		}
	}
}

func FuzzVisibleRow(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":"x\u202e"},null,true],"c":-1.5e3}`))
	f.Add([]byte(`{"":{"":{}}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := visibleRow(in)
		var object map[string]any
		if valid := json.Unmarshal(in, &object) == nil && object != nil; valid != (err == nil) {
			t.Fatalf("%q: valid: %t, error %v", in, valid, err)
		}
		if err != nil {
			return
		}
		if !json.Valid(got) {
			t.Fatalf("%q becomes %q", in, got)
		}
		for _, r := range string(got) {
			if !unicode.IsPrint(r) {
				t.Fatalf("%q becomes %q", in, got)
			}
		}
		if visible(object) {
			var after map[string]any
			_ = json.Unmarshal(got, &after)
			a, _ := json.Marshal(object)
			b, _ := json.Marshal(after)
			if !bytes.Equal(a, b) {
				t.Fatalf("%q becomes %q", in, got)
			}
		}
	})
}

// visible reports whether no text in a value changes.
func visible(v any) bool {
	switch v := v.(type) {
	case string:
		return safe.Text(v) == v
	case []any:
		for _, e := range v {
			if !visible(e) {
				return false
			}
		}
	case map[string]any:
		for key, e := range v {
			if !visible(key) || !visible(e) {
				return false
			}
		}
	}
	return true
}
