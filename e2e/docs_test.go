package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/console"
	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
)

// The pages of docs/tutorials that are not executed with the others.
const (
	shopPage       = "README.md"     // starts the application that all pages trace
	persistentPage = "team-flows.md" // installs orb8: TestPersistentMode executes it
)

// TestDocs executes the commands of the README and the tutorials, and compares their output with what the pages show.
// ORB8_UPDATE=1 writes the new output into the pages.
func TestDocs(t *testing.T) {
	t.Parallel()
	e := kit.Need(t)
	pages, err := filepath.Glob(filepath.Join(e.Root, "docs", "tutorials", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	startShop(t, e)
	for _, path := range append(pages, filepath.Join(e.Root, "README.md")) {
		name, err := filepath.Rel(e.Root, path)
		if err != nil {
			t.Fatal(err)
		}
		if base := filepath.Base(path); base == persistentPage || name != base && base == shopPage {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			executePage(t, e, path)
		})
	}
}

// persistentDocs executes the tutorial that installs orb8, up to its last block, which removes it.
func persistentDocs(t *testing.T, e *kit.Env) {
	startShop(t, e)
	executeBlocks(t, e, tutorial(e, persistentPage), func(blocks []*console.Block) []*console.Block {
		return blocks[:len(blocks)-1]
	})
}

// uninstallDocs executes that last block.
func uninstallDocs(t *testing.T, e *kit.Env) {
	executeBlocks(t, e, tutorial(e, persistentPage), func(blocks []*console.Block) []*console.Block {
		return blocks[len(blocks)-1:]
	})
}

func tutorial(e *kit.Env, name string) string {
	return filepath.Join(e.Root, "docs", "tutorials", name)
}

// startShop executes the page that starts the application, and removes it at the end of the test.
func startShop(t *testing.T, e *kit.Env) {
	t.Helper()
	home := t.TempDir()
	remove := func(flags string) {
		if s := e.Shell(t, home, "kubectl delete namespace shop --ignore-not-found "+flags); s.Wait(t) != 0 {
			t.Error(s.Output())
		}
	}
	remove("") // of a test that was killed
	t.Cleanup(func() { remove("--wait=false") })
	executePage(t, e, tutorial(e, shopPage))
}

// updatePages is true if new output is written into the pages.
func updatePages() bool { return os.Getenv("ORB8_UPDATE") != "" }

// executePage executes all blocks of a page.
func executePage(t *testing.T, e *kit.Env, path string) {
	t.Helper()
	executeBlocks(t, e, path, func(blocks []*console.Block) []*console.Block { return blocks })
}

// executeBlocks executes blocks of a page in their order.
func executeBlocks(t *testing.T, e *kit.Env, path string, choose func([]*console.Block) []*console.Block) {
	t.Helper()
	page, err := console.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	x := &execution{env: e, home: t.TempDir(), renewed: map[*console.Step][]string{}}
	for _, b := range choose(page.Blocks) {
		if b.Skip == "" {
			x.execute(t, b)
		}
	}
	if !updatePages() {
		return
	}
	if err := os.WriteFile(path, []byte(page.Update(x.renewed)), 0o644); err != nil {
		t.Error(err)
	}
}

// streamTimeout bounds the wait for what a command prints before the reader interrupts it.
const streamTimeout = 40 * time.Second

func isStreaming(output string) bool { return strings.Contains(output, " streaming\n") }

// allStream reports whether the tracers that were started stream: a pod may have come to a node that had none.
func allStream(output string) bool {
	return strings.LastIndex(output, " streaming\n") >= strings.LastIndex(output, ": starting the container")
}

// execution executes the commands of a page as a reader with a shell in the root of the repository.
type execution struct {
	env  *kit.Env
	home string
	// beside are commands that run beside the next block.
	beside []*running
	// renewed is the output that the page shows from now on.
	renewed map[*console.Step][]string
}

// execute executes a block. Its commands run one after another, unless it runs beside the next block.
func (x *execution) execute(t *testing.T, b *console.Block) {
	t.Helper()
	for _, s := range b.Steps {
		r := x.start(t, b, s)
		if b.Beside {
			r.shell.Await(streamTimeout, isStreaming)
			x.beside = append(x.beside, r)
			continue
		}
		x.finish(t, r)
	}
	if b.Beside {
		return
	}
	for _, r := range x.beside {
		x.finish(t, r)
	}
	x.beside = nil
}

// running is a command that was started.
type running struct {
	block *console.Block
	step  *console.Step
	shell *kit.Shell
	start time.Time
}

func (x *execution) start(t *testing.T, b *console.Block, s *console.Step) *running {
	t.Helper()
	return &running{block: b, step: s, shell: x.env.Shell(t, x.home, s.Command), start: time.Now()}
}

// finish interrupts a command where its reader does, and checks its exit code and output.
func (x *execution) finish(t *testing.T, r *running) {
	t.Helper()
	s := r.step
	interrupted := s.Interrupted
	switch {
	case s.Interrupted:
		before := s.Output[:slices.Index(s.Output, "^C")]
		r.shell.Await(streamTimeout, func(output string) bool {
			missing, _ := console.Compare(before, r.printed(output))
			return len(missing) == 0 && allStream(output)
		})
		if updatePages() {
			time.Sleep(2 * time.Second) // what the page does not show yet comes, too
		}
		r.shell.Interrupt()
	case !s.ShowsOutput && r.shell.Await(streamTimeout, isStreaming):
		interrupted = true // without --duration the reader ends a trace
		r.shell.Interrupt()
	}
	code := r.shell.Wait(t)
	output := r.shell.Output()
	t.Logf("%.1f s: %s", time.Since(r.start).Seconds(), s.Command)
	fails := slices.ContainsFunc(s.Output, func(line string) bool { return strings.HasPrefix(line, "error: ") })
	if fails != (code != 0) && (!interrupted || code != 130) {
		t.Errorf("%s\nexit code %d\n%s", s.Command, code, output)
	}
	if s.ShowsOutput {
		x.compare(t, r, output)
	}
}

// printed returns the lines of output, as the page shows them.
func (r *running) printed(output string) []string {
	if output == "" {
		return nil
	}
	return console.Cut(strings.Split(strings.TrimSuffix(output, "\n"), "\n"), r.block.Columns)
}

func (x *execution) compare(t *testing.T, r *running, output string) {
	t.Helper()
	printed := r.printed(output)
	missing, added := console.Compare(r.step.Output, printed)
	x.renewed[r.step] = console.Renew(r.step.Output, printed)
	partial := slices.Contains(r.step.Output, "…")
	if updatePages() && (!partial || len(missing) == 0) {
		return
	}
	if updatePages() {
		x.renewed[r.step] = r.step.Output // a person has to choose lines
	}
	if len(missing)+len(added) > 0 {
		t.Errorf("line %d: %s\nthe page shows, and it does not print:\n\t%s\n"+
			"it prints, and the page does not show:\n\t%s\nits output:\n%s", r.block.Line, r.step.Command,
			strings.Join(missing, "\n\t"), strings.Join(added, "\n\t"), strings.Join(printed, "\n"))
	}
}
