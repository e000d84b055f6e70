package kernels

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/fakes"
	"github.com/orb8-dev/kubectl-orb8/e2e/kernels/console"
	"github.com/orb8-dev/kubectl-orb8/event/session"
	"github.com/orb8-dev/kubectl-orb8/internal/capabilities"
)

var update = flag.Bool("update", false, "write docs/KERNELS.md")

const repository = "../.."

// machineTimeout bounds one machine. It is some twenty times slower than the one it runs on. It needs ten minutes on a
// quiet one, and more beside other suites.
const machineTimeout = 40 * time.Minute

// chosen are the tests of a folder of bpf that see its known events, and need no other program; all of them, where
// nothing is chosen.
var chosen = map[string]string{
	"cuda": "TestProbe_CountsCallsExactly|TestATracersCapabilitiesAreEnough|TestProbe_ReportsEachFailure|" +
		"TestProbe_ReportsBlockedSynchronisation|" +
		"TestProbe_ForgetsEndedProcesses|TestProbesGoWhereTheyCostLittle|" +
		"TestInstructionsThatAreNotKnownAreLeft|" +
		"TestAllocations_.*",
	"dns": "TestQuery_ReportedWithItsAnswer|TestQuery_PendingIsReportedOnce|TestServer_ReportsQueriesAndAnswers|" +
		"TestProbe_CountsAFullRing|TestClients_.*|TestOwners_.*|TestServers_.*",
	"drops": "TestDrops_ClosedPort|TestDrops_FullSocketBuffer|TestDrops_CountPacketsWithoutRoom|" +
		"TestReasons_ExistInTheKernel|" +
		"TestDrops_LoopbackOf.*",
	"exec": "TestExecAndExitAreReportedExactly|TestTheOOMKillerIsNamedWithTheLimit|TestProbe_CountsAFullRing",
	"flows": "TestThreeCapabilitiesAreEnough|TestTCPCountersAreTheKernelsOwn|TestTCP_RefusedConnection|" +
		"TestUDPDatagramsAndBytesAreExact|TestPingIsOneFlow|TestFlow_FullReceiveBuffer.*|" +
		"TestOtherNetworkNamespacesAreSeen|TestPreexisting_TCPIsExactAndKnowsItsRole|" +
		"TestSockets_.*|TestResponses_.*",
	"tcp": "TestEnd_HasItsCause|TestAttempt_HasItsCause|" +
		"TestEnd_NotAccepted|" +
		"TestAttempt_ICMPErrors|TestRetransmits_OneEventPerInterval|" +
		"TestPreexisting_HasItsProcess|" +
		"TestSockets_.*",
}

// sample is the test of a folder that says that its programs see what they are for. Folders without one are quick.
var sample = map[string]string{
	"cuda":  "TestProbe_CountsCallsExactly",
	"dns":   "TestQuery_ReportedWithItsAnswer|TestClients_.*",
	"drops": "TestDrops_ClosedPort",
	"exec":  "TestExecAndExitAreReportedExactly",
	"flows": "TestThreeCapabilitiesAreEnough|TestTCPCountersAreTheKernelsOwn|TestUDPDatagramsAndBytesAreExact|" +
		"TestFlow_FullReceiveBuffer.*",
	"tcp": "TestEnd_HasItsCause|TestAttempt_ICMPErrors",
}

// testsFor is which tests of a folder run on a kernel, as a pattern. The page needs all of them.
func testsFor(k Kernel, folder string) string {
	if !*update && k.Whole != nil && !slices.Contains(k.Whole, folder) && sample[folder] != "" {
		return sample[folder]
	}
	wanted := or(chosen[folder], "Test.*")
	if len(capabilities.For(k.Series, false)) > len(capabilities.For("", false)) {
		wanted += chosenHashed
	}
	return wanted
}

// chosenHashed are those of what is kept in hashes, which run besides.
const chosenHashed = "|TestPre515_.*|TestHashed_.*"

// TestEveryProbeOnEveryKernel has a tracer load everything with a tracer's capabilities, and runs the probes' own
// tests, in virtual machines with other kernels and on the one that runs.
func TestEveryProbeOnEveryKernel(t *testing.T) {
	if os.Getenv("ORB8_E2E_KERNELS") == "" {
		t.Skip("starts virtual machines: make test-kernels")
	}
	results := make([]*result, len(Kernels))
	t.Run("kernels", func(t *testing.T) {
		order := make([]int, len(Kernels))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int { return Kernels[b].Minutes - Kernels[a].Minutes })
		free := make(chan struct{}, runtime.GOMAXPROCS(0)) // each machine takes one CPU
		var machines sync.WaitGroup
		defer machines.Wait()
		for _, i := range order {
			free <- struct{}{}
			machines.Go(func() {
				defer func() { <-free }()
				t.Run(Kernels[i].Name(), func(t *testing.T) { results[i] = try(t, Kernels[i]) })
			})
		}
	})
	if slices.Contains(results, nil) {
		if *update {
			t.Fatal("no table without all kernels")
		}
		return // -run chose some of them
	}
	costs := costsOf(results)
	text := page(results) + "\n" + costs.Table(columns(results))
	t.Log("\n" + text)
	written, err := os.ReadFile(filepath.Join(repository, "docs", "KERNELS.md"))
	if err != nil {
		t.Fatal(err)
	}
	before, err := ParseCosts(string(written))
	if err != nil {
		t.Errorf("docs/KERNELS.md: %v", err)
	}
	// It is for people to judge, so it does not fail.
	for _, line := range costs.Drifts(before) {
		fmt.Println("note: verifier: " + line)
	}
	if *update {
		if err := os.WriteFile(filepath.Join(repository, "docs", "KERNELS.md"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// result is what came out on one kernel.
type result struct {
	kernel Kernel
	report *session.Report
	suites []suite
}

// suite is the tests of one folder of bpf.
type suite struct {
	name            string
	passed, skipped []string
}

func try(t *testing.T, k Kernel) *result {
	ctx, cancel := context.WithTimeout(t.Context(), machineTimeout)
	defer cancel()
	image, err := Fetch(ctx, k)
	if err != nil {
		t.Fatal(err)
	}
	cache, err := cacheDir()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "root")
	all := fill(t, k, root, image)
	kept := passedSteps{filepath.Join(cache, "passed")}
	left, passed := all.pending(kept)
	steps := run(ctx, t, k, image, root, left)
	logSteps(k, steps, passed)
	for name, s := range passed {
		steps[name] = s
	}
	r := &result{kernel: k, report: report(t, k, steps[all[0].name])}
	for _, p := range r.report.Probes {
		switch {
		case k.Supported && p.Error != "":
			t.Errorf("%s: %s", p.Kind, p.Error)
		case !k.Supported && p.Error != "" && !p.Unsupported:
			t.Errorf("%s fails, and does not say what the kernel lacks: %s", p.Kind, p.Error)
		}
	}
	for _, s := range all[1:] {
		r.suites = append(r.suites, tests(t, s.name, steps[s.name]))
	}
	if t.Failed() {
		return r // what has failed may be the report's contents, too
	}
	for _, s := range left {
		if err := kept.put(s.key, steps[s.name]); err != nil {
			t.Errorf("keep the result: %v", err)
		}
	}
	return r
}

// run runs steps in a machine, unless there are none, and returns them by their names.
func run(ctx context.Context, t *testing.T, k Kernel, image, root string, left plan) map[string]console.Step {
	t.Helper()
	ran := map[string]console.Step{}
	if len(left) == 0 {
		return ran
	}
	if err := os.WriteFile(filepath.Join(root, "plan"), []byte(left.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	steps, log, err := Boot(ctx, k, image, root)
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	if len(steps) < 1 || k.Supported && len(steps) != len(left) {
		t.Fatalf("%d steps, want %d:\n%s", len(steps), len(left), log)
	}
	for _, s := range steps {
		ran[s.Name] = s
	}
	return ran
}

func logSteps(k Kernel, ran, passed map[string]console.Step) {
	var took []string
	for _, name := range slices.Sorted(maps.Keys(ran)) {
		took = append(took, fmt.Sprintf("%s %.0f s", name, ran[name].Took.Seconds()))
	}
	if len(took) > 0 {
		fmt.Printf("note: %s: %s\n", k.Name(), strings.Join(took, ", "))
	}
	if len(passed) > 0 {
		fmt.Printf("note: %s: the same programs have passed before: %s\n", k.Name(),
			strings.Join(slices.Sorted(maps.Keys(passed)), ", "))
	}
}

// fill makes the machine's file system and returns the steps: the doctor and the tests of the folders of bpf.
func fill(t *testing.T, k Kernel, root, image string) (steps plan) {
	t.Helper()
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	build := func(to string, args ...string) {
		flags := []string{"-trimpath", "-buildvcs=false", "-o", filepath.Join(root, to)}
		cmd := exec.CommandContext(t.Context(), "go", slices.Concat(args[:1], flags, args[1:])...)
		cmd.Dir = repository
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+k.Arch)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	build("init", "build", "./e2e/kernels/init")
	build("orb8-tracer", "build", "./cmd/orb8-tracer")
	addFakes(t, k, root)
	machine := fmt.Sprint(emulator[k.Arch], options)
	step := func(name, program, line string) {
		program = filepath.Join(root, program)
		key, err := keyOf(machine, line, program, image, filepath.Join(root, "init"), filepath.Join(root, "fakes"))
		if err != nil {
			t.Fatal(err)
		}
		steps = append(steps, plannedStep{name, line, program, key})
	}
	step("doctor", "orb8-tracer", "doctor with="+strings.Join(capabilities.For(k.Series, false), ",")+
		" /orb8-tracer doctor")
	if !k.Supported {
		return steps
	}
	probes, err := filepath.Glob(filepath.Join(repository, "bpf", "*", "*.bpf.c"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range probes {
		folder := filepath.Base(filepath.Dir(p))
		if only := os.Getenv("ORB8_E2E_PROBES"); only != "" && !slices.Contains(strings.Split(only, ","), folder) {
			continue // while one works on a probe
		}
		build(folder+".test", "test", "-c", "./bpf/"+folder)
		step(folder, folder+".test", fmt.Sprintf("%s /%s.test -test.v -test.run ^(%s)$", folder, folder,
			testsFor(k, folder)))
	}
	return steps
}

// compilers make programs for an architecture.
var compilers = map[string]string{"amd64": "x86_64-linux-gnu-gcc", "arm64": "aarch64-linux-gnu-gcc"}

// addFakes puts in a driver's library that is a fake, a program that calls it, and the C library that both take; where
// there is no compiler for them, tests that need those say so.
func addFakes(t *testing.T, k Kernel, root string) {
	t.Helper()
	compiler, err := exec.LookPath(compilers[k.Arch])
	if err != nil {
		t.Logf("without a driver's fake library: %v", err)
		return
	}
	dir := filepath.Join(root, "fakes")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	fakes.MakeCUDA(t, compiler, dir)
	cmd := exec.CommandContext(t.Context(), filepath.Join(repository, "hack", "c-library.sh"), root,
		filepath.Join(dir, "cuda"))
	cmd.Env = append(os.Environ(), "CC="+compiler)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func report(t *testing.T, k Kernel, s console.Step) *session.Report {
	t.Helper()
	for _, line := range s.Output {
		if r, ok, err := session.ParseReport(line); ok && err == nil {
			if len(r.Missing) > 0 || !slices.Equal(r.Granted, capabilities.For(k.Series, false)) {
				t.Errorf("it ran with the capabilities %v, and without %v; granted were %v", r.Granted, r.Missing,
					capabilities.For(k.Series, false))
			}
			return r
		}
	}
	b, _ := json.Marshal(s)
	t.Fatalf("no report: %s", b)
	return nil
}

// Indented where it is a test of a test.
var ended = regexp.MustCompile(`^( *)--- (PASS|FAIL|SKIP): (\S+)`)

func tests(t *testing.T, folder string, s console.Step) suite {
	t.Helper()
	out := suite{name: s.Name}
	var failed []string
	for _, line := range s.Output {
		m := ended.FindStringSubmatch(line)
		switch {
		case m == nil:
		case m[2] == "FAIL":
			failed = append(failed, m[3])
		case m[1] != "":
		case m[2] == "PASS":
			out.passed = append(out.passed, m[3])
		case m[2] == "SKIP":
			out.skipped = append(out.skipped, m[3])
		}
	}
	if s.Name != folder || !s.Ended || s.Code != 0 || len(out.passed) == 0 {
		// The failed tests come last, too: logs are read from their end.
		t.Errorf("%s: ended %v, exit code %d, passed %v:\n%s\n%s: failed %v", s.Name, s.Ended, s.Code, out.passed,
			strings.Join(s.Output, "\n"), s.Name, failed)
	}
	return out
}
