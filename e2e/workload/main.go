// Command workload makes network traffic, processes and system calls in known numbers, and reports what it did, for
// end-to-end tests and benchmarks.
//
//	workload serve -tcp :7000-7009 -mptcp :7010 -udp :7100-7109   until SIGTERM
//	workload tcp -to ADDR:PORT -conns 10 -send 1000 -recv 2000 -close server
//	workload connect -to ADDR:PORT -send 100 -end reset           one connection with a chosen end
//	workload accept -listen :7050 -read 10 -end close             its server
//	workload udp -to ADDR:PORT -count 100 -size 500 -reply 200
//	workload slowreader -listen :7100 -buffer 4096                a UDP socket that is read after a line on stdin
//	workload dns -name NAME -count 10
//	workload dnsserver -listen :53                                a DNS server whose answers depend on the name
//	workload dnsask -to ADDR:PORT [-tcp] NAME...                  DNS queries, one after another
//	workload dnsload -to ADDR:PORT -name NAME -for 5s             repeated queries for one name, with latencies
//	workload load -to ADDR:PORT -conns 8 -for 5s                  request and response, with latencies
//	workload httpserver -listen :8080 [-tls]                      HTTP/1.1 and HTTP/2, with delays that clients choose
//	workload http -to ADDR:PORT -protocol http2 -delays 0s,5ms    its client, on one connection, with latencies
//	workload bulk -to ADDR:PORT -for 5s                           one stream as fast as possible
//	workload flows -to ADDR:PORT -flows 10000 -for 10s            many live connections, each with a little traffic
//	workload flood -to ADDR:PORT -threads 2 -for 5s [-dns]        UDP sockets with a datagram each, without a pause
//	workload sockets -protocol tcp -count 10000                   many sockets, held until a line on stdin
//	workload spray -to ::1 -sockets 3 -ports 60000                datagrams to many ports; sockets held likewise
//	workload stall -conns 2000 -for 5s                            incomplete DNS messages over TCP
//	workload app -server NAME -tcp 8080 -udp 8125 -every 200ms    a client that sends requests to its server
//	workload spawn -count 10 -dir /tmp/a -pause 1s ARGS...        processes: workload ARGS..., one after another
//	workload spawn -program /workload ARGS...                     likewise, by another path
//	workload spawn -hostile                                       one process with hostile arguments
//	workload noop ARGS...                                         nothing
//	workload die -code 3 | -signal 11                             exits with a code or is killed by a signal
//	workload hog -bytes 1073741824                                memory beyond its limit
//	workload syscalls -getppid 1000 -absent 5 -block 200ms        system calls of known names and numbers
//	workload sysinfo                                              one system call that needs no right
//	workload burn -threads 2 -pin -duty 50 -for 5s                CPU time
//	workload hold -bytes 67108864                                 memory, until SIGTERM
//	workload disk -count 100 [-for 10m]                           writes and reads of a block device
//	workload maplibrary -file PATH                                maps a file as the dynamic linker maps a library
//	workload session                                              a tracer with another protocol, or a hostile one
//	workload hostilefiles -dir /tmp/a | -kubelet /tmp/k -node N   maps a FIFO and a hostile file, or a fake kubelet
//	workload queue -listen :6379 -burn 2ms                        a server of a part of Redis' protocol
//	workload pop -to ADDR:PORT -wait 5s                           a worker that waits for jobs in it
//	workload web -listen :8080 -burn 2ms -delay 5ms -call URL     a service with dependencies, until SIGTERM
//	workload call -to URL -every 100ms                            a client of services, until SIGTERM
//	workload lock -threads 8 -hold 10ms                           threads that wait for one mutex
//	workload reread -bytes 67108864                               random reads of a file through the page cache
//	workload startup -file PATH -connect ADDR:PORT                fails without its file or its dependency
//	workload idle                                                 until SIGTERM, for `kubectl exec`
//
// Reports go to stdout, one JSON object a line (package report).
package main

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

var commands = map[string]func(context.Context, *flag.FlagSet, []string) error{
	"serve":     serve,
	"tcp":       tcpClient,
	"connect":   connect,
	"accept":    accept,
	"udp":       udpClient,
	"dns":       dnsClient,
	"dnsserver": dnsServer,
	"dnsask":    dnsAsk,
	"dnsload":   dnsLoad,
	"load":      loadClient,
	"http":      httpClient,
	"bulk":      bulkClient,
	"flows":     flowsClient,
	"app":       app,
	"flood":     flood,
	"sockets":   sockets,
	"spray":     spray,
	"stall":     stall,
	"spawn":     spawn,
	"noop":      noop,
	"die":       die,
	"hog":       hog,
	"syscalls":  syscalls,
	"sysinfo":   sysinfo,
	"burn":      burn,
	"hold":      hold,
	"disk":      disk,

	"httpserver":   httpServer,
	"hostilefiles": hostileFiles,
	"session":      impostor, // the command that a tracer's Job runs
	"idle":         idle,
	"slowreader":   slowReader,
	"maplibrary":   mapLibrary,

	"queue":   queue,
	"pop":     pop,
	"web":     web,
	"call":    call,
	"lock":    lock,
	"reread":  reread,
	"startup": startup,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "workload:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("want a command: " + strings.Join(slices.Sorted(maps.Keys(commands)), ", "))
	}
	command, ok := commands[args[0]]
	if !ok {
		return fmt.Errorf("no command %q", args[0])
	}
	return command(ctx, flag.NewFlagSet(args[0], flag.ContinueOnError), args[1:])
}

func idle(ctx context.Context, flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	printReport(report.Report{Kind: report.Listening})
	<-ctx.Done()
	return nil
}

// impostor prints the ready line (session.Ready) of a tracer with another protocol. In a Job for GPUs it is a hostile
// tracer with this protocol.
func impostor(ctx context.Context, flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	if os.Getenv("NVIDIA_VISIBLE_DEVICES") != "" {
		return serveHostile(ctx)
	}
	key := base64.RawURLEncoding.EncodeToString(make([]byte, ed25519.PublicKeySize))
	fmt.Printf("orb8-ready {\"protocol\":4096,\"version\":\"v99.0.0\",\"key\":%q,\"instance\":\"1\"}\n", key)
	<-ctx.Done()
	return nil
}

var stdout sync.Mutex

// printReport prints a report. An error needs no handling: the test that waits for the report fails.
func printReport(r report.Report) {
	if r.PID == 0 {
		r.PID = os.Getpid()
	}
	stdout.Lock()
	defer stdout.Unlock()
	_ = json.NewEncoder(os.Stdout).Encode(r)
}

// closeOnDone closes c when ctx ends, unless stop is called before.
func closeOnDone(ctx context.Context, c io.Closer) (stop func() bool) {
	return context.AfterFunc(ctx, func() { c.Close() })
}

// interruptOnDone makes the reads and writes of c fail when ctx ends, unless stop is called before.
func interruptOnDone(ctx context.Context, c net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		_ = c.SetDeadline(time.Now()) // fails only if c is closed
	})
}
