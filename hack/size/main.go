// Command size checks that the plugin stays small, and names the modules that grew.
//
//	go run ./hack/size bin/kubectl-orb8 bin/kubectl-orb8.symbols deps.txt
//
// The arguments are the plugin as users get it, the same with its symbols, and what the linker prints with -dumpdep.
// hack/size.sh makes the last two.
package main

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
)

// Limits of linux/amd64, bytes: of the program, and of the program compressed as in an archive. The goals were 45 and
// 15 MB. At 36.6 and 12.7 MB, of which the server for AI assistants is 2.0 and 0.6 MB, these leave room for what is
// planned.
const (
	maxProgram = 39e6
	maxArchive = 13.7e6
)

func main() {
	baseline := flag.String("baseline", "hack/size/modules.txt", "file with the sizes of modules to compare with")
	update := flag.Bool("update", false, "write the file")
	flag.Parse()
	if flag.NArg() != 3 {
		fmt.Fprintln(os.Stderr, "usage: size [-update] PROGRAM SYMBOLS DEPS")
		os.Exit(2)
	}
	ok, err := run(os.Stdout, flag.Arg(0), flag.Arg(1), flag.Arg(2), *baseline, *update)
	if err != nil {
		fmt.Fprintln(os.Stderr, "size:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// run reports whether the program is within its limits.
func run(w io.Writer, program, symbols, deps, baseline string, update bool) (bool, error) {
	content, err := os.ReadFile(program)
	if err != nil {
		return false, err
	}
	compressed, err := compress(content)
	if err != nil {
		return false, err
	}
	sizes, err := readModules(symbols)
	if err != nil {
		return false, err
	}
	if update {
		if err := writeBaseline(baseline, sizes); err != nil {
			return false, err
		}
	}
	before, err := readBaseline(baseline)
	if err != nil {
		return false, err
	}
	fmt.Fprintf(w, "%s: %.1f MB (limit %.1f), compressed %.1f MB (limit %.1f)\n", program, mega(len(content)),
		maxProgram/1e6, mega(compressed), maxArchive/1e6)
	names, err := os.ReadFile(deps)
	if err != nil {
		return false, err
	}
	ok := len(content) <= maxProgram && compressed <= maxArchive
	if callers := reflectCallers(names); len(callers) > 0 {
		ok = false
		for _, caller := range callers {
			fmt.Fprintf(w, "%s calls methods by names that are not constant: the linker keeps all exported methods\n",
				caller)
		}
	}
	if !ok {
		writeGrowth(w, before, sizes)
	}
	return ok, nil
}

func mega(bytes int) float64 { return float64(bytes) / 1e6 }

func compress(content []byte) (int, error) {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return 0, err
	}
	if _, err := z.Write(content); err != nil {
		return 0, err
	}
	err = z.Close()
	return out.Len(), err
}

// reported is the number of modules in a report of growth.
const reported = 15

// writeGrowth lists the modules that grew most.
func writeGrowth(w io.Writer, before, now map[string]int) {
	type growth struct {
		module string
		by     int
	}
	var all []growth
	for module, size := range now {
		if by := size - before[module]; by > 0 {
			all = append(all, growth{module, by})
		}
	}
	slices.SortFunc(all, func(a, b growth) int {
		return cmp.Or(cmp.Compare(b.by, a.by), cmp.Compare(a.module, b.module))
	})
	for _, g := range all[:min(len(all), reported)] {
		fmt.Fprintf(w, "%+8.1f KB  %s, %.1f KB before\n", float64(g.by)/1e3, g.module, float64(before[g.module])/1e3)
	}
	fmt.Fprintln(w, "make size UPDATE=1 keeps the new sizes")
}
