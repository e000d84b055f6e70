package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// checkGo checks the identifiers that a file declares, its comments and its texts.
func checkGo(name, text string) ([]place, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	inModel := strings.HasPrefix(name, "plugin/model/")
	var places []place
	declared := func(id *ast.Ident) {
		if message := checkName(id.Name, inModel); message != "" {
			places = append(places, place{set.Position(id.Pos()).Line, message})
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			declared(n.Name)
			if message := checkTestName(n.Name.Name); message != "" {
				places = append(places, place{set.Position(n.Pos()).Line, message})
			}
		case *ast.TypeSpec:
			declared(n.Name)
		case *ast.ValueSpec:
			for _, id := range n.Names {
				declared(id)
			}
		case *ast.Field:
			for _, id := range n.Names {
				declared(id)
			}
		case *ast.AssignStmt:
			for _, e := range n.Lhs {
				if id, ok := e.(*ast.Ident); ok && n.Tok == token.DEFINE {
					declared(id)
				}
			}
		case *ast.RangeStmt:
			for _, e := range []ast.Expr{n.Key, n.Value} {
				if id, ok := e.(*ast.Ident); ok && n.Tok == token.DEFINE {
					declared(id)
				}
			}
		case *ast.BasicLit:
			if n.Kind == token.STRING {
				if value, err := strconv.Unquote(n.Value); err == nil {
					places = append(places, checkProse(value, set.Position(n.Pos()).Line)...)
				}
			}
		}
		return true
	})
	for _, group := range file.Comments {
		for _, c := range group.List {
			places = append(places, checkProse(c.Text, set.Position(c.Pos()).Line)...)
		}
	}
	return places, nil
}

// checkWidth finds lines that are wider than a page; a tab is four columns.
func checkWidth(text string) []place {
	var places []place
	line := 0
	for s := range strings.Lines(text) {
		line++
		s = strings.ReplaceAll(strings.TrimRight(s, "\n"), "\t", "    ")
		if n := utf8.RuneCountInString(s); n > maxColumns {
			places = append(places, place{line, fmt.Sprintf("%d columns, want at most %d", n, maxColumns)})
		}
	}
	return places
}

// checkName returns what is wrong with an identifier, or "".
func checkName(id string, inModel bool) string {
	if allowed[id] {
		return ""
	}
	for _, word := range words(id) {
		instead := names[word]
		if instead == "" && inModel {
			instead = modelNames[word]
		}
		if instead != "" {
			return fmt.Sprintf("%s: not %q but %s", id, word, instead)
		}
	}
	return ""
}

// checkTestName returns what is wrong with the name of a test, or "".
func checkTestName(id string) string {
	switch {
	case !strings.HasPrefix(id, "Test"):
		return ""
	case len(id) > maxTestName:
		return fmt.Sprintf("%s has %d characters, want at most %d", id, len(id), maxTestName)
	case riddle.MatchString(id):
		return id + ": name the thing first, then what it does: TestOutbox_ResumesAfterCut"
	}
	return ""
}

// words splits an identifier at its capitals, digits and underscores; the words are in lower case.
func words(id string) []string {
	var all []string
	runes := []rune(id)
	begin := 0
	end := func(i int) {
		if i > begin {
			all = append(all, strings.ToLower(string(runes[begin:i])))
		}
		begin = i
	}
	for i, r := range runes {
		switch {
		case !unicode.IsLetter(r):
			end(i)
			begin = i + 1
		case unicode.IsUpper(r) && i > 0 &&
			(!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])):
			end(i)
		}
	}
	end(len(runes))
	return all
}

// checkProse checks a text that begins at a line.
func checkProse(text string, line int) []place {
	var places []place
	for _, p := range prose {
		for _, at := range p.pattern.FindAllStringIndex(text, -1) {
			places = append(places, place{line + strings.Count(text[:at[0]], "\n"),
				fmt.Sprintf("not %q but %s", strings.TrimSpace(text[at[0]:at[1]]), p.instead)})
		}
	}
	return places
}

var (
	cComment    = regexp.MustCompile(`(?s)/\*.*?\*/|//[^\n]*`)
	cIdentifier = regexp.MustCompile(`[A-Za-z_]\w*`)
)

// checkC checks the identifiers and comments of C.
func checkC(text string) []place {
	var places []place
	code := []byte(text)
	for _, at := range cComment.FindAllStringIndex(text, -1) {
		places = append(places, checkProse(text[at[0]:at[1]], 1+strings.Count(text[:at[0]], "\n"))...)
		for i := at[0]; i < at[1]; i++ {
			if code[i] != '\n' {
				code[i] = ' '
			}
		}
	}
	for _, at := range cIdentifier.FindAllIndex(code, -1) {
		if message := checkName(string(code[at[0]:at[1]]), false); message != "" {
			places = append(places, place{1 + strings.Count(text[:at[0]], "\n"), message})
		}
	}
	return places
}
