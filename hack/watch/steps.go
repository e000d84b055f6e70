package main

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// relevant reports whether a change of a file, relative to the repository, needs a build. Generated files do not: the
// build itself writes them.
func relevant(name string) bool {
	switch path.Ext(name) {
	case ".c", ".h":
		return strings.HasPrefix(name, "bpf/")
	case ".go":
		return !strings.HasSuffix(name, "_test.go") && !strings.HasSuffix(name, "_bpfel.go") &&
			!strings.HasSuffix(name, ".pb.go") && !strings.HasPrefix(name, "hack/")
	}
	return false
}

// steps returns the commands that build what files affect, and load it. Without files, all is built.
func steps(changed []string, arch string, load []string) [][]string {
	var commands [][]string
	if probes := changedProbes(changed); len(probes) > 0 {
		commands = append(commands, append([]string{"hack/go", "generate"}, probes...))
	}
	return append(commands,
		[]string{"make", "build", "image"},
		append(slices.Clone(load), "dist/orb8-tracer-"+arch+".tar"))
}

// changedProbes returns the packages whose BPF programs have to be compiled: all, if a shared header has changed.
func changedProbes(changed []string) []string {
	var probes []string
	for _, name := range changed {
		if path.Ext(name) == ".go" {
			continue
		}
		dir := path.Dir(name)
		if strings.HasPrefix(dir, "bpf/lib") || strings.HasPrefix(dir, "bpf/headers") {
			return []string{"./bpf/..."}
		}
		if probe := "./" + dir; !slices.Contains(probes, probe) {
			probes = append(probes, probe)
		}
	}
	return probes
}

// compilerError is a line of clang or of Go's compiler.
var compilerError = regexp.MustCompile(`(?m)^\S+\.(go|c|h):\d+(:\d+)?: .*$`)

// firstError returns the first error of a build's output: that of a compiler if there is one, else the last line.
func firstError(output string, err error) string {
	for _, line := range compilerError.FindAllString(output, -1) {
		if !strings.Contains(line, "warning:") && !strings.Contains(line, "note:") {
			return line
		}
	}
	lines := strings.Split(strings.TrimSpace(output), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return last
	}
	return err.Error()
}
