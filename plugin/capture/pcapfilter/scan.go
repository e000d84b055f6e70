package pcapfilter

import (
	"fmt"
	"strings"
)

type tokenKind int

const (
	tokenEnd tokenKind = iota
	tokenWord
	tokenOpen
	tokenClose
	tokenAnd
	tokenOr
	tokenNot
)

type token struct {
	kind   tokenKind
	text   string
	column int
}

func (t token) String() string {
	if t.kind == tokenEnd {
		return "end"
	}
	return fmt.Sprintf("%q", t.text)
}

func (t token) errorf(format string, args ...any) *Error {
	return &Error{t.column, fmt.Sprintf(format, args...)}
}

var operators = []struct {
	text string
	kind tokenKind
}{
	{"&&", tokenAnd}, {"||", tokenOr}, {"!", tokenNot}, {"(", tokenOpen}, {")", tokenClose},
}

var operatorWords = map[string]tokenKind{"and": tokenAnd, "or": tokenOr, "not": tokenNot}

// scan splits an expression into tokens, the last of which is the end.
func scan(s string) (tokens []token) {
	const space = " \t\r\n"
	for i := 0; i < len(s); {
		if strings.ContainsRune(space, rune(s[i])) {
			i++
			continue
		}
		t := token{tokenWord, "", i + 1}
		for _, o := range operators {
			if strings.HasPrefix(s[i:], o.text) {
				t.kind, t.text = o.kind, o.text
			}
		}
		if t.text == "" {
			end := strings.IndexAny(s[i:], space+"()!&|")
			switch {
			case end < 0:
				end = len(s) - i
			case end == 0: // a single & or |
				end = 1
			}
			t.text = s[i : i+end]
			if kind, is := operatorWords[t.text]; is {
				t.kind = kind
			}
		}
		tokens = append(tokens, t)
		i += len(t.text)
	}
	return append(tokens, token{tokenEnd, "", len(s) + 1})
}
