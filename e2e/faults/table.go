package faults

import "slices"

// InGroup returns the scenarios of a group.
func InGroup(group Group) []*Scenario {
	return slices.DeleteFunc(All(), func(s *Scenario) bool { return s.Group != group })
}

// All returns all scenarios.
func All() []*Scenario { return slices.Clone(scenarios) }

// scenarios are all scenarios: what is wrong, and the answers.
var scenarios = []*Scenario{
	// Names and connections.
	{
		Name: "dns-unreachable", Group: Connections, setup: unreachableDNS,
		Fault: "the pod's DNS server answers no query",
		Want:  []Answer{{Target: "app", First: of(DNSTimeout), Peers: []string{"resolver"}}},
	},
	{
		Name: "dns-slow", Group: Connections, setup: slowDNS,
		Fault: "the pod's DNS server answers after 400 ms, and each call resolves a name",
		Want:  []Answer{{Target: "app", First: of(DNSSlow), Peers: []string{"resolver"}}},
	},
	{
		Name: "dns-search-path", Group: Connections, setup: searchPath,
		Fault: "each call resolves a name outside the cluster, after three that the search path makes of it",
		Want:  []Answer{{Target: "app", First: of(DNSSearch)}},
	},
	{
		Name: "dns-unknown-name", Group: Connections, setup: unknownName,
		Fault: "the name of a Service is misspelled",
		Want:  []Answer{{Target: "app", First: of(DNSNotFound), Peers: []string{"inventroy"}}},
	},
	{
		Name: "dns-and-peer", Group: Connections, setup: slowDNSAndPeer,
		Fault: "two faults: the DNS server answers after 400 ms, the dependency after 500 ms",
		Want: []Answer{{Target: "app", First: of(DNSSlow, SlowPeer), Also: of(DNSSlow, SlowPeer),
			Peers: []string{"resolver", "api"}}},
	},
	{
		Name: "refused", Group: Connections, setup: loopbackListener,
		Fault: "the server listens on its loopback interface only",
		Want:  []Answer{{Target: "shop", First: of(Refused), Peers: []string{"cart"}}},
	},
	{
		Name: "wrong-target-port", Group: Connections, setup: wrongTargetPort,
		Fault: "the Service's target port is one on which its pod does not listen",
		Want:  []Answer{{Target: "shop", First: of(Refused, WrongPort), Peers: []string{"cart"}}},
	},
	{
		Name: "wrong-service-port", Group: Connections, setup: wrongServicePort,
		Fault: "the client uses a port that the Service does not have",
		Want:  []Answer{{Target: "shop", First: of(WrongPort), Peers: []string{"cart"}}},
	},
	{
		Name: "no-endpoints", Group: Connections, setup: noEndpoints,
		Fault: "the Service's selector matches no pod",
		Want:  []Answer{{Target: "shop", First: of(NoEndpoints), Peers: []string{"cart"}}},
	},
	{
		Name: "readiness-failing", Group: Connections, setup: failingReadiness,
		Fault: "the only pod of a Service is not ready: its readiness probe gets status 503",
		Want: []Answer{
			{Target: "cart", First: of(ProbeFailing)},
			{Target: "shop", First: of(NoEndpoints), Peers: []string{"cart"}, Root: Root{"cart", ProbeFailing}},
		},
	},
	{
		Name: "no-pods", Group: Connections, setup: uncreatedPods,
		Fault: "the pods of a Service's Deployment cannot be created: their service account does not exist",
		Want: []Answer{
			{Target: "deploy/cart", First: of(NotStarted)},
			{Target: "shop", First: of(NoEndpoints), Peers: []string{"cart"}, Root: Root{"deploy/cart", NotStarted}},
		},
	},
	{
		Name: "unanswered", Group: Connections, setup: unanswered,
		Fault: "an address outside the cluster does not answer; the SYNs are lost outside this machine's kernel",
		Want:  []Answer{{Target: "shop", First: of(Unanswered), Peers: []string{nowhere.String()}}},
	},
	{
		Name: "policy-drop", Group: Connections, setup: policyDrop,
		Fault: "a firewall on the server's node drops the client's packets, as for a NetworkPolicy",
		Want:  []Answer{{Target: "shop", First: of(PolicyDrop), Peers: []string{"cart"}}},
	},
	{
		Name: "reset", Group: Connections, setup: serverResets,
		Fault: "the server resets each connection when it has read the request",
		Want:  []Answer{{Target: "shop", First: of(Reset), Peers: []string{"cart"}}},
	},
	{
		Name: "backlog-full", Group: Connections, setup: fullBacklog,
		Fault: "the server accepts one connection a second, and its accept queue holds two more",
		Want: []Answer{
			{Target: "cart", First: of(BacklogFull)},
			{Target: "shop", First: of(BacklogFull, Unanswered, SlowPeer), Peers: []string{"cart"},
				Root: Root{"cart", BacklogFull}},
		},
	},
	{
		Name: "ports-exhausted", Group: Connections, setup: portsExhausted,
		Fault: "the client makes 20 connections a second, and has 64 local ports, each in TIME_WAIT for a minute",
		Want:  []Answer{{Target: "app", First: of(Churn), Peers: []string{"api"}}},
	},
	{
		Name: "chatty-dns", Group: Connections, setup: chattyDNS,
		Fault: "none: the client resolves a name 20 times a second, which exists and has a dot at its end",
		Want:  []Answer{{Target: "app", First: of(Busy, Idle), Healthy: true}},
	},

	// Slow dependencies, and clients that wait by intention.
	{
		Name: "cpu-limit", Group: Latency, setup: cpuLimit,
		Fault: "a server needs more CPU time than its limit",
		Want: []Answer{
			{Target: "web", First: of(CPULimit)},
			{Target: "users", First: of(SlowPeer), Peers: []string{"web"}, Root: Root{"web", CPULimit}},
		},
	},
	{
		Name: "packet-loss", Group: Latency, setup: packetLoss,
		Fault: "2 % of the packets to the dependency are lost outside this machine's kernel",
		Want:  []Answer{{Target: "uploader", First: of(PacketLoss), Peers: []string{"store"}}},
	},
	{
		Name: "distant-peer", Group: Latency, setup: distantPeer,
		Fault: "the network delays the packets to one of two dependencies by 50 ms",
		Want: []Answer{
			{Target: "app", First: of(SlowPeer), Peers: []string{"far"}},
			{Target: "near", First: of(Busy, Idle), Healthy: true},
			{Target: "far", First: of(Busy, Idle), Healthy: true},
		},
	},
	{
		Name: "slow-backend-tls", Group: Latency, setup: slowBackendTLS,
		Fault: "one of two dependencies answers after 300 ms; both speak TLS",
		Want: []Answer{
			{Target: "app", First: of(SlowPeer), Peers: []string{"backend"}},
			{Target: "cache", First: of(Busy, Idle), Healthy: true},
		},
	},
	{
		Name: "chain", Group: Latency, setup: chain,
		Fault: "frontend waits for cart, cart for redis-cart, and redis-cart is at its CPU limit",
		Want: []Answer{
			{Target: "frontend", First: of(SlowPeer), Peers: []string{"cart"}, Root: Root{"redis-cart", CPULimit}},
			{Target: "cart", First: of(SlowPeer), Peers: []string{"redis-cart"}, Root: Root{"redis-cart", CPULimit}},
			{Target: "redis-cart", First: of(CPULimit)},
		},
	},
	{
		Name: "busy-web", Group: Latency, setup: busyWeb,
		Fault: "none: a web server answers each request at once",
		Want: []Answer{
			{Target: "web", First: of(Busy, Idle), Healthy: true},
			{Target: "users", First: of(Busy, Idle), Healthy: true},
		},
	},
	{
		Name: "long-poll", Group: Latency, setup: longPoll,
		Fault: "none: an HTTP server answers when there is news, or after 30 s",
		Want: []Answer{
			{Target: "app", First: of(Idle, Busy), Healthy: true},
			{Target: "events", First: of(Idle, Busy), Healthy: true},
		},
	},
	{
		Name: "pop-5s", Group: Latency, setup: blockingPop("5s"),
		Fault: "none: a worker waits for jobs with a timeout of 5 s",
		Want: []Answer{
			{Target: "worker", First: of(Idle, Busy), Healthy: true},
			{Target: "queue", First: of(Idle, Busy), Healthy: true},
		},
	},
	{
		Name: "pop-60s", Group: Latency, setup: blockingPop("60s"),
		Fault: "none: a worker waits for jobs with a timeout of a minute",
		Want: []Answer{
			{Target: "worker", First: of(Idle, Busy), Healthy: true},
			{Target: "queue", First: of(Idle, Busy), Healthy: true},
		},
	},
	{
		Name: "idle", Group: Latency, setup: idle,
		Fault: "none: the pod does nothing",
		Want:  []Answer{{Target: "spare", First: of(Idle), Healthy: true}},
	},

	// Pods that crash or do not start, and a crowded node.
	{
		Name: "crowded-node", Group: Crashes, setup: crowdedNode,
		Fault: "a pod without a limit uses the CPUs of its node, beside one that requests a hundredth of a CPU",
		Want: []Answer{
			{Target: "web", First: of(CrowdedNode), Peers: []string{"greedy"}},
			{Target: "users", First: of(SlowPeer), Peers: []string{"web"}, Root: Root{"web", CrowdedNode}},
		},
	},
	{
		Name: "missing-config", Group: Crashes, setup: missingConfig,
		Fault: "the program ends since its configuration does not exist",
		Want:  []Answer{{Target: "app", First: of(MissingFile)}},
	},
	{
		Name: "unreadable-secret", Group: Crashes, setup: unreadableSecret,
		Fault: "the program ends since it may not read its key: a Secret of root with mode 0400, in a pod of nobody",
		Want:  []Answer{{Target: "app", First: of(Permission)}},
	},
	{
		Name: "segfault", Group: Crashes, setup: segfault,
		Fault: "the program is killed by SIGSEGV",
		Want:  []Answer{{Target: "app", First: of(Crash)}},
	},
	{
		Name: "refused-at-start", Group: Crashes, setup: refusedAtStart,
		Fault: "the program ends since its database refuses the connection",
		Want:  []Answer{{Target: "app", First: of(Refused), Peers: []string{"db"}}},
	},
	{
		Name: "missing-image", Group: Crashes, setup: missingImage,
		Fault: "the image cannot be pulled",
		Want:  []Answer{{Target: "web", First: of(NotStarted)}},
	},
	{
		Name: "unschedulable", Group: Crashes, setup: unschedulable,
		Fault: "no node has the CPUs that the pod requests",
		Want:  []Answer{{Target: "train", First: of(NotStarted)}},
	},
	{
		Name: "missing-configmap", Group: Crashes, setup: missingConfigMap,
		Fault: "the container's environment is of a ConfigMap that does not exist",
		Want:  []Answer{{Target: "web", First: of(NotStarted)}},
	},
	{
		Name: "init-container-waits", Group: Crashes, setup: waitingInit,
		Fault: "an init container waits for a dependency that never comes",
		Want:  []Answer{{Target: "web", First: of(NotStarted)}},
	},

	// Disks, memory and probes.
	{
		Name: "slow-disk", Group: Storage, setup: slowDisk,
		Fault: "the disk allows 20 reads a second, of a program that does nothing else",
		Want:  []Answer{{Target: "archive", First: of(DiskWait)}},
	},
	{
		Name: "memory-limit", Group: Storage, setup: memoryLimit,
		Fault: "the pages of a file of 56 MiB do not fit into a memory limit of 40 MiB: it reads them again and again",
		Want:  []Answer{{Target: "store", First: of(MemoryLimit)}},
	},
	{
		Name: "memory-pressure", Group: Storage, setup: memoryPressure,
		Fault: "the node's memory is short: the kernel reclaims the pages of a pod without a limit",
		Want:  []Answer{{Target: "store", First: of(MemoryPressure)}},
	},
	{
		Name: "oom-killed-child", Group: Storage, setup: oomKilledChild,
		Fault: "each 5 s a child process exceeds the memory limit and is killed; its parent continues",
		Want:  []Answer{{Target: "resizer", First: of(OOMKilled)}},
	},
	{
		Name: "liveness-failing", Group: Storage, setup: failingProbe,
		Fault: "the liveness probe gets status 503, and the kubelet restarts the container",
		Want:  []Answer{{Target: "web", First: of(ProbeFailing)}},
	},
	{
		Name: "throttled-probe", Group: Storage, setup: throttledProbe,
		Fault: "two faults: a server is at its CPU limit, and so its liveness probe gets no answer in time",
		Want: []Answer{
			{Target: "web", First: of(CPULimit), Also: of(ProbeFailing)},
			{Target: "users", First: of(SlowPeer), Peers: []string{"web"}, Root: Root{"web", CPULimit}},
		},
	},

	// Locks, and CPU time without a limit.
	{
		Name: "lock", Group: Waits, setup: lockContention,
		Fault: "eight threads wait for one mutex, which each holds for half of its work",
		Want:  []Answer{{Target: "worker", First: of(Lock)}},
	},
	{
		Name: "high-cpu", Group: Waits, setup: highCPU,
		Fault: "none: the pod uses 600m of a limit of 1400m",
		Want:  []Answer{{Target: "encoder", First: of(Busy), Healthy: true}},
	},
	{
		Name: "batch", Group: Waits, setup: batch,
		Fault: "none: the pods of a Job work for 8 s, and succeed",
		Want:  []Answer{{Target: "job/report", First: of(Busy, Idle), Healthy: true}},
	},
	{
		Name: "cold-starts", Group: Waits, setup: coldStarts,
		Fault: "none: a Deployment scales to zero and to one; its client retries until the pod listens",
		Want: []Answer{
			{Target: "activator", First: of(Idle, Busy), Healthy: true},
			{Target: "deploy/thumbnails", First: of(Idle, Busy), Healthy: true},
		},
	},
}

// of lists causes.
func of(causes ...Cause) []Cause { return causes }
