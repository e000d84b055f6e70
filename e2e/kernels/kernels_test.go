package kernels

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
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
		"TestSockets_.*",
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
		wanted += chosenPre515
	}
	return wanted
}

// chosenPre515 are those of the variant Pre515, which run besides.
const chosenPre515 = "|TestPre515_.*"

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
	root := filepath.Join(t.TempDir(), "root")
	folders := fill(t, k, root)
	steps, log, err := Boot(ctx, k, image, root)
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	var took []string
	for _, s := range steps {
		took = append(took, fmt.Sprintf("%s %.0f s", s.Name, s.Took.Seconds()))
	}
	fmt.Printf("note: %s: %s\n", k.Name(), strings.Join(took, ", "))
	if want := 1 + len(folders); len(steps) < 1 || k.Supported && len(steps) != want {
		t.Fatalf("%d steps, want %d:\n%s", len(steps), want, log)
	}
	r := &result{kernel: k, report: report(t, k, steps[0])}
	for _, p := range r.report.Probes {
		switch {
		case k.Supported && p.Error != "":
			t.Errorf("%s: %s", p.Kind, p.Error)
		case !k.Supported && p.Error != "" && !p.Unsupported:
			t.Errorf("%s fails, and does not say what the kernel lacks: %s", p.Kind, p.Error)
		}
	}
	if k.Supported {
		for i, s := range steps[1:] {
			r.suites = append(r.suites, tests(t, folders[i], s))
		}
	}
	return r
}

// fill makes the machine's file system and returns the folders of bpf whose tests it runs.
func fill(t *testing.T, k Kernel, root string) (folders []string) {
	t.Helper()
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	build := func(to string, args ...string) {
		cmd := exec.CommandContext(t.Context(), "go",
			append(args[:1:1], append([]string{"-trimpath", "-o", filepath.Join(root, to)}, args[1:]...)...)...)
		cmd.Dir = repository
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+k.Arch)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	build("init", "build", "./e2e/kernels/init")
	build("orb8-tracer", "build", "./cmd/orb8-tracer")
	addFakes(t, k, root)
	plan := "doctor with=" + strings.Join(capabilities.For(k.Series, false), ",") + " /orb8-tracer doctor\n"
	if k.Supported {
		probes, err := filepath.Glob(filepath.Join(repository, "bpf", "*", "*.bpf.c"))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range probes {
			folder := filepath.Base(filepath.Dir(p))
			if only := os.Getenv("ORB8_E2E_PROBES"); only != "" && !slices.Contains(strings.Split(only, ","), folder) {
				continue // while one works on a probe
			}
			folders = append(folders, folder)
			build(folder+".test", "test", "-c", "./bpf/"+folder)
			plan += fmt.Sprintf("%s /%s.test -test.v -test.run ^(%s)$\n", folder, folder, testsFor(k, folder))
		}
	}
	if err := os.WriteFile(filepath.Join(root, "plan"), []byte(plan), 0o644); err != nil {
		t.Fatal(err)
	}
	return folders
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
