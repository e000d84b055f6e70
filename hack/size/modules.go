package main

import (
	"bufio"
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
)

// readModules returns the bytes of a program's functions and data by module; those of the main module by folder.
func readModules(program string) (map[string]int, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, err
	}
	var modules []string
	for _, m := range info.Deps {
		modules = append(modules, m.Path)
	}
	file, err := elf.Open(program)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it is only read
	symbols, err := file.Symbols()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	sizes := map[string]int{}
	for _, s := range symbols {
		if int(s.Section) < len(file.Sections) && file.Sections[s.Section].Type != elf.SHT_NOBITS {
			sizes[moduleOf(packageOf(s.Name), info.Main.Path, modules)] += int(s.Size)
		}
	}
	return sizes, nil
}

// packageOf returns the package of a symbol; empty: it belongs to none.
func packageOf(symbol string) string {
	for _, prefix := range []string{"type:", ".eq.", "go:itab."} {
		symbol = strings.TrimPrefix(symbol, prefix)
	}
	if strings.HasPrefix(symbol, "go:") {
		return "" // the linker's own
	}
	symbol = strings.TrimLeft(symbol, "*[]")
	// What follows may name other packages: receivers, type arguments, the interface of a table of methods.
	if end := strings.IndexAny(symbol, "([{,"); end >= 0 {
		symbol = symbol[:end]
	}
	slash := strings.LastIndexByte(symbol, '/') + 1
	dot := strings.IndexByte(symbol[slash:], '.')
	if dot < 0 {
		return ""
	}
	path := symbol[:slash+dot]
	// The linker escapes dots in the last element: yaml%2ev3.
	if unescaped, err := url.PathUnescape(path); err == nil {
		return unescaped
	}
	return path
}

// moduleOf returns the module of a package, MAIN/FOLDER for one of the main module, and std for the standard library.
func moduleOf(path, main string, modules []string) string {
	if below, ok := strings.CutPrefix(path, main+"/"); ok {
		folder, _, _ := strings.Cut(below, "/")
		return main + "/" + folder
	}
	best := ""
	for _, m := range modules {
		if (path == m || strings.HasPrefix(path, m+"/")) && len(m) > len(best) {
			best = m
		}
	}
	if best == "" {
		return "std"
	}
	return best
}

// reflectCallers returns the functions for which the linker keeps all exported methods, from what it prints with
// -dumpdep.
func reflectCallers(deps []byte) (callers []string) {
	for line := range bytes.Lines(deps) {
		from, _, _ := strings.Cut(string(line), " -> ")
		if caller, marked := strings.CutSuffix(from, " <ReflectMethod>"); marked && !slices.Contains(callers, caller) {
			callers = append(callers, caller)
		}
	}
	return callers
}

func readBaseline(path string) (map[string]int, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	sizes := map[string]int{}
	lines := bufio.NewScanner(bytes.NewReader(content))
	for lines.Scan() {
		var module string
		var kilobytes int
		if _, err := fmt.Sscan(lines.Text(), &kilobytes, &module); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", path, lines.Text(), err)
		}
		sizes[module] = kilobytes * 1000
	}
	return sizes, lines.Err()
}

// writeBaseline writes sizes in whole kilobytes, so that small changes do not change the file.
func writeBaseline(path string, sizes map[string]int) error {
	var out bytes.Buffer
	for _, module := range slices.Sorted(maps.Keys(sizes)) {
		if kilobytes := sizes[module] / 1000; kilobytes > 0 {
			fmt.Fprintf(&out, "%6d %s\n", kilobytes, module)
		}
	}
	return os.WriteFile(path, out.Bytes(), 0o644)
}
