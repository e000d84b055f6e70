// Command typecheck type-checks packages for systems that no test runs on. It reads all imports from source, those of
// other modules without the bodies of functions. `go vet` compiles a thousand packages for each system first, which
// takes minutes with an empty cache.
//
//	go run ./hack/typecheck -os darwin/arm64,windows/amd64 ./cmd/kubectl-orb8
package main

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"

	"golang.org/x/tools/go/packages"
)

func main() {
	systems := flag.String("os", "", "systems, GOOS/GOARCH, separated by commas")
	flag.Parse()
	failed := 0
	for system := range strings.SplitSeq(*systems, ",") {
		errs, err := check(system, flag.Args()...)
		if err != nil {
			fmt.Fprintf(os.Stderr, "typecheck: %s: %v\n", system, err)
			os.Exit(2)
		}
		for _, e := range errs {
			fmt.Fprintf(os.Stderr, "%s: %v\n", system, e)
		}
		failed += len(errs)
	}
	if failed > 0 {
		os.Exit(1)
	}
}

// check loads packages and all that they import for a system, and returns the errors in packages of this module.
func check(system string, patterns ...string) ([]packages.Error, error) {
	goos, goarch, ok := strings.Cut(system, "/")
	if !ok || goos == "" || goarch == "" {
		return nil, fmt.Errorf("want GOOS/GOARCH, as in darwin/arm64")
	}
	here, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	loaded, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports |
			packages.NeedDeps | packages.NeedTypes | packages.NeedSyntax | packages.NeedTypesInfo |
			packages.NeedModule,
		Env: append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0"),
		ParseFile: func(set *token.FileSet, name string, text []byte) (*ast.File, error) {
			file, err := parser.ParseFile(set, name, text, parser.SkipObjectResolution)
			if file != nil && !strings.HasPrefix(name, here+"/") {
				dropBodies(file)
			}
			return file, err
		},
	}, patterns...)
	if err != nil {
		return nil, err
	}
	if len(loaded) == 0 {
		return nil, fmt.Errorf("no package matches %v", patterns)
	}
	var errs []packages.Error
	packages.Visit(loaded, nil, func(p *packages.Package) {
		// Without their bodies, packages of other modules have imports that are not used.
		if p.Module == nil && len(p.Errors) > 0 && len(p.GoFiles) == 0 || p.Module != nil && p.Module.Main {
			errs = append(errs, p.Errors...)
		}
	})
	return errs, nil
}

// dropBodies leaves of a file what other packages see of it.
func dropBodies(file *ast.File) {
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			f.Body = nil
		}
	}
}
