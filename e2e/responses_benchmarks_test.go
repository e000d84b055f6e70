package e2e

import (
	"encoding/csv"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/orb8-dev/kubectl-orb8/e2e/aptimage"
	"github.com/orb8-dev/kubectl-orb8/e2e/kit"
	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// benchmarks is an image of wrk with nginx, redis-benchmark with Redis, and pgbench with PostgreSQL.
var benchmarks = aptimage.Image{
	Reference: "orb8.dev/e2e/benchmarks:dev",
	Packages: []string{"dash", "coreutils", "wrk", "nginx", "libnginx-mod-http-echo", "redis-server", "redis-tools",
		"postgresql"},
	Files: []aptimage.File{
		{From: "bin/dash", To: "bin/sh"}, {From: "bin/cat"}, {From: "usr/bin/wrk"}, {From: "usr/sbin/nginx"},
		{From: "usr/lib/nginx/modules/ngx_http_echo_module.so"}, {From: "usr/bin/redis-server"},
		{From: "usr/bin/redis-benchmark"}, {From: "usr/lib/postgresql/*/bin/initdb"},
		{From: "usr/lib/postgresql/*/bin/postgres"}, {From: "usr/lib/postgresql/*/bin/pgbench"},
		{From: "usr/lib/postgresql/*/lib/plpgsql.so"}, {From: "usr/lib/postgresql/*/lib/dict_snowball.so"},
		{From: "usr/share/postgresql/*/*.*"}, {From: "usr/share/postgresql/*/timezonesets"},
		{From: "usr/share/postgresql/*/tsearch_data"}, {From: "usr/share/postgresql/*/extension/plpgsql*"},
	},
	Texts: map[string]string{
		"etc/passwd": "bench:x:1000:1000::/tmp:/bin/sh\n", // initdb looks its user's name up
		// wrk asks for another delay each time, of which none is twice the mean: of those, it adds made-up shorter ones
		// to its latencies, to correct them for coordinated omission.
		"bench/wrk.lua": `
local paths, n = {"/20", "/20", "/56", "/20", "/40"}, 0
request = function()
	n = n + 1
	return wrk.format(nil, paths[n % #paths + 1])
end
`,
		"bench/nginx.conf": `
daemon off;
pid /tmp/nginx.pid;
load_module /usr/lib/nginx/modules/ngx_http_echo_module.so;
events {}
http {
	access_log off;
	keepalive_requests 1000000;
	client_body_temp_path /tmp/body;
	proxy_temp_path /tmp/proxy;
	fastcgi_temp_path /tmp/fastcgi;
	uwsgi_temp_path /tmp/uwsgi;
	scgi_temp_path /tmp/scgi;
	server {
		listen 8080;
		location /20 { echo_sleep 0.020; echo ok; }
		location /40 { echo_sleep 0.040; echo ok; }
		location /56 { echo_sleep 0.056; echo ok; }
	}
}
`,
		"bench/statement.sql": `
\set n :n + 1
\set ms case when mod(:n, 5) = 0 then 56 when mod(:n, 5) = 1 then 40 else 20 end
select pg_sleep(:ms / 1000.0);
`,
		"bench/transaction.sql": "begin;\nselect pg_sleep(0.002);\nend;\n",
	},
	Entrypoint: "bin/sh",
}

// benchmarkServers are the scripts of the servers, and their ports.
var benchmarkServers = []struct {
	name, script string
	port         int32
}{
	{"nginx", "exec nginx -c /bench/nginx.conf -e stderr", 8080},
	{"redis", "exec redis-server --bind 0.0.0.0 --protected-mode no --save '' --enable-debug-command yes", 6379},
	{"postgres", `initdb -D /tmp/data -A trust -U bench --no-locale --no-sync
echo "host all all all trust" >> /tmp/data/pg_hba.conf
exec postgres -D /tmp/data -c listen_addresses='*' -c unix_socket_directories=/tmp`, 5432},
}

// benchmark is a benchmark program whose times the test compares.
type benchmark struct {
	name string
	// script runs it against the address $server. It has one connection that measures.
	script string
	// extra are the exchanges of that connection that are no measured requests.
	extra uint64
	// parse returns the requests and the times from what the script prints.
	parse func(t *testing.T, printed string) (requests uint64, took *report.Performance)
}

// TestResponseTimes_Benchmarks compares response times with those that wrk, redis-benchmark and pgbench print. Servers
// delay their responses by few different times, so that many are of a quantile: where they are spread, or PostgreSQL
// rounds a sleep up to a millisecond, a quantile moves by a millisecond if a few responses wait for a CPU, and programs
// count that wait.
func TestResponseTimes_Benchmarks(t *testing.T) {
	e := kit.NeedOwn(t)
	start := time.Now()
	e.LoadPackages(t, &benchmarks)
	t.Logf("image loaded in %s", time.Since(start).Round(time.Second))
	ns := e.Namespace(t, nil)
	spec := kit.PodSpec{Namespace: ns, Name: "server", Node: e.Nodes[1], Change: addBenchmarkServers}
	// The other one makes the trace observe the clients' node from the beginning.
	server := e.Pods(t, spec, kit.PodSpec{Namespace: ns, Name: "idle", Node: e.Nodes[0]})[0].IP(t, false)
	tr := e.Trace(t, "trace", "network", "-n", ns, "-o", "json", "--fail-on-loss")
	tr.AwaitStreaming(t, 2)
	e.AwaitReady(t, spec)
	printed := map[string]string{}
	all := []benchmark{
		{"wrk", "wrk -t 1 -c 1 -d 5s --latency -s /bench/wrk.lua http://$server:8080/", 0, parseWrk},
		// The random number is 0 to 4. Redis reads it as 0 to 40 ms.
		{"redis-benchmark", "redis-benchmark -h $server -c 1 -n 200 -r 5 --csv DEBUG SLEEP __rand_int__e-2", 0,
			parseRedis},
		// Extra: whether TLS is wanted, and the start of the session. The second run's connection is checked below.
		{"pgbench", `pgbench -n -c 1 -t 200 -D n=0 -f /bench/statement.sql -l --log-prefix=/tmp/log postgres >&2
pgbench -n -c 1 -t 50 -f /bench/transaction.sql postgres >&2
cat /tmp/log.*`, 2, parsePgbench},
	}
	for _, b := range all {
		printed[b.name] = e.RunPodLog(t, benchmarkClient(ns, e.Nodes[0], server, b))
	}
	// The connections that measure have most responses. pgbench has run twice.
	const flows = `[.[] | select(.src.pod == $pod and .phase == "closed" and .responses != null and
		.src.bytesSent != null and .dst.bytesSent != null)] | sort_by(-.responses)`
	for _, b := range all {
		measured := strconv.Itoa(1 + strings.Count(b.script, "\npgbench"))
		tr.AwaitJQ(t, flows+` | map(select(.responses > 100)) | length >= `+measured, "--arg", "pod", b.name)
	}
	tr.Stop(t)
	tr.CheckSchema(t)
	for _, b := range all {
		t.Run(b.name, func(t *testing.T) {
			var found []timedFlow
			tr.JQ(t, &found, flows, "--arg", "pod", b.name)
			requests, took := b.parse(t, printed[b.name])
			expectResponses(t, found[0], requests+b.extra)
			expectTimes(t, found[0], took)
			if b.name == "pgbench" {
				// A transaction of three statements is three exchanges: only their number can be compared.
				expectResponses(t, found[1], 3*50+b.extra)
			}
		})
	}
}

// expectResponses compares the numbers of responses of both ends: wrk ends while it waits for one.
func expectResponses(t *testing.T, f timedFlow, want uint64) {
	t.Helper()
	t.Logf("%d responses of %d", f.Responses, want)
	for end, n := range map[string]uint64{"client": f.Responses, "server": f.Dst.Responses} {
		if n < want || n > want+1 {
			t.Errorf("%s: %d responses, want %d or one more", end, n, want)
		}
	}
}

// addBenchmarkServers adds the servers to a pod of the workload, as containers.
func addBenchmarkServers(p *corev1.Pod) {
	for _, s := range benchmarkServers {
		c := corev1.Container{Name: s.name}
		runBenchmarkScript(p, &c, s.script)
		c.ReadinessProbe = &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{
			TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(s.port)}}}
		p.Spec.Containers = append(p.Spec.Containers, c)
	}
}

// benchmarkClient returns a pod that runs a benchmark and prints its result.
func benchmarkClient(namespace, node string, server netip.Addr, b benchmark) kit.PodSpec {
	return kit.PodSpec{Namespace: namespace, Name: b.name, Node: node, Change: func(p *corev1.Pod) {
		c := &p.Spec.Containers[0]
		c.Args = nil
		runBenchmarkScript(p, c, b.script)
		c.Env = []corev1.EnvVar{{Name: "server", Value: server.String()}, {Name: "PGHOST", Value: server.String()},
			{Name: "PGUSER", Value: "bench"}}
	}}
}

// runBenchmarkScript makes a container run a script in the image, as its ordinary user. /tmp of each is its own.
func runBenchmarkScript(p *corev1.Pod, c *corev1.Container, script string) {
	user := int64(1000)
	c.Image, c.ImagePullPolicy = benchmarks.Reference, corev1.PullNever
	c.Command = []string{"/bin/sh", "-ec",
		"PATH=/usr/bin:/usr/sbin:/bin:$(echo /usr/lib/postgresql/*/bin)\n" + script}
	c.SecurityContext = &corev1.SecurityContext{RunAsUser: &user, RunAsGroup: &user}
	c.VolumeMounts = []corev1.VolumeMount{{Name: c.Name, MountPath: "/tmp"}}
	p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: c.Name,
		VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
}

// parseWrk parses what wrk --latency prints.
func parseWrk(t *testing.T, printed string) (requests uint64, took *report.Performance) {
	t.Helper()
	quantile := func(percent string) float64 {
		d, err := time.ParseDuration(match(t, printed, percent+`%\s+([0-9.]+(?:us|ms|s))`))
		if err != nil {
			t.Fatal(err)
		}
		return float64(d.Microseconds())
	}
	requests, err := strconv.ParseUint(match(t, printed, `(\d+) requests in`), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return requests, &report.Performance{P50: quantile("50"), P99: quantile("99")}
}

// match returns the first group of a pattern's match.
func match(t *testing.T, text, pattern string) string {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no %s in\n%s", pattern, text)
	}
	return m[1]
}

// parseRedis parses what redis-benchmark --csv prints: milliseconds. It does not print how many requests it has made.
func parseRedis(t *testing.T, printed string) (requests uint64, took *report.Performance) {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(printed)).ReadAll()
	if err != nil || len(rows) != 2 {
		t.Fatalf("%v in\n%s", err, printed)
	}
	column := func(name string) float64 {
		i := slices.Index(rows[0], name)
		if i < 0 {
			t.Fatalf("no column %s in\n%s", name, printed)
		}
		ms, err := strconv.ParseFloat(rows[1][i], 64)
		if err != nil {
			t.Fatal(err)
		}
		return ms * 1000
	}
	return 200, &report.Performance{P50: column("p50_latency_ms"), P99: column("p99_latency_ms")}
}

// parsePgbench parses pgbench's log: a line for each transaction, with its microseconds in the third column.
func parsePgbench(t *testing.T, printed string) (requests uint64, took *report.Performance) {
	t.Helper()
	var all []float64
	for _, m := range regexp.MustCompile(`(?m)^\d+ \d+ (\d+) \d+ \d+ \d+$`).FindAllStringSubmatch(printed, -1) {
		us, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, us)
	}
	if len(all) == 0 {
		t.Fatalf("no log of transactions in\n%s", printed)
	}
	slices.Sort(all)
	quantile := func(part float64) float64 { return all[int(math.Ceil(part*float64(len(all))))-1] }
	return uint64(len(all)), &report.Performance{P50: quantile(0.5), P99: quantile(0.99)}
}
