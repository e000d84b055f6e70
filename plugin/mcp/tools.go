package mcp

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

var targetParameters = []string{"namespace", "allNamespaces", "targets", "selector", "container", "node"}

var rowParameters = []string{"filter", "sortBy", "fields", "maxRows"}

// tools returns the tools of the server, in the order in which they are listed.
func (s *Server) tools() []*tool {
	all := []*tool{s.why(), s.top(), s.trace(), s.query(), s.diff(), s.status(), columnsTool()}
	if !s.config.AgentsOnly {
		all = append(all, s.doctor())
	}
	if s.config.Recordings != nil {
		all = append(all, s.replay())
	}
	return all
}

func (s *Server) trace() *tool {
	topics := s.config.Trace
	return &tool{
		name: "trace", title: "Trace events of pods",
		description: "Trace events of pods for a few seconds. Of a flow and of other things that are reported again, " +
			"the newest row only. Kinds: network (flows: who talks to whom, bytes, retransmits), tcp (connections " +
			"that are made, refused, unanswered, reset), dns (queries and answers), drops (packets that the kernel " +
			"drops, and why), exec (programs, exit codes, OOM kills), signals, syscalls (with arguments and " +
			"results), resources (CPU, memory, I/O against limits), gpu.",
		parameters: slices.Concat([]string{"kinds", "seconds"}, targetParameters, rowParameters,
			[]string{"syscalls", "errorsOnly", "minMilliseconds"}),
		required: []string{"kinds"}, kinds: kindsOf(topics),
		words: map[string][]string{"kinds": names(topics)},
		plan: func(a arguments) (*plan, error) {
			kinds := a.list("kinds")
			p := observing([]string{"trace", strings.Join(kinds, ",")}, a)
			p.Flags = append(p.Flags, fmt.Sprintf("--duration=%v", p.observes))
			for _, kind := range kinds {
				p.kinds = append(p.kinds, named(topics, kind).Kind)
			}
			return p, nil
		},
	}
}

func (s *Server) top() *tool {
	topics := s.config.Top
	return &tool{
		name: "top", title: "Sum what pods do",
		description: "Sum what happens in a few seconds, or happened in the past, the largest rows first: traffic " +
			"(topic network; group pod, workload, peer, flow), names that are queried (dns; name, pod, workload), " +
			"time in system calls (syscalls; call, pod), use of GPUs (gpu; gpu, pod, workload).",
		parameters: slices.Concat([]string{"topic", "group", "seconds", "since", "until"}, targetParameters,
			rowParameters),
		required: []string{"topic"}, kinds: kindsOf(topics),
		words:   map[string][]string{"topic": names(topics)},
		seconds: integer("How long to observe; not with since", 1, maxSeconds, 0),
		plan: func(a arguments) (*plan, error) {
			topic := named(topics, a.text("topic"))
			p := windowed(topic.Words, a, 5*time.Second)
			p.kinds = []string{topic.Kind}
			p.Flags = append(p.Flags, "--once")
			p.limitTop()
			return p, nil
		},
	}
}

func (s *Server) why() *tool {
	topics := s.config.Why
	return &tool{
		name: "why", title: "Say what is wrong with pods",
		description: "Observe pods, or read the past, and return a verdict for each with its evidence, shares of the " +
			"time, confidence, and the next command. Verdicts are hypotheses that fit the evidence. Topics: pod, the " +
			"default (limits, crowded nodes, memory, disks, DNS, connections that fail and to whom, lost packets, " +
			"crashes, probes, or healthy), gpu (what the pods' GPUs spend their time on).",
		parameters: slices.Concat([]string{"topic", "seconds", "follow", "since", "until"}, targetParameters,
			rowParameters),
		kinds:   kindsOf(topics),
		words:   map[string][]string{"topic": names(topics)},
		seconds: integer("How long to observe, 20 by default; not with since", 5, maxSeconds, 0),
		plan: func(a arguments) (*plan, error) {
			topic := topics[0]
			if name := a.text("topic"); name != "" {
				topic = named(topics, name)
			}
			p := windowed(topic.Words, a, 20*time.Second)
			p.kinds = []string{topic.Kind}
			if !topic.Follows || p.FromInstalledAgents {
				return p, nil
			}
			p.allowed = followTime
			if s.config.Namespace != "" {
				p.Flags = append(p.Flags, "--follow=false")
			}
			return p, nil
		},
	}
}

func (s *Server) diff() *tool {
	return &tool{
		name: "diff", title: "Compare two times of the past",
		description: "Compare what pods do with what they did some time before, as the agents of kubectl orb8 " +
			"install have recorded it: peers, amounts, failures, DNS names and programs that appeared, vanished or " +
			"changed. For rollouts.",
		parameters: slices.Concat([]string{"before", "length"}, targetParameters, rowParameters),
		required:   []string{"before"}, kinds: []string{"difference"},
		plan: func(a arguments) (*plan, error) {
			p := planned([]string{"diff"}, a)
			p.kinds, p.allowed, p.FromInstalledAgents = []string{"difference"}, 2*askTime, true
			return p, nil
		},
	}
}

func (s *Server) query() *tool {
	topics := s.config.Query
	return &tool{
		name: "query", title: "Read events of the past",
		description: "Read events of the past that the agents of kubectl orb8 install have recorded, the newest rows " +
			"unless they are sorted. A flow is one row. aggregateBy returns sums of flows.",
		parameters: slices.Concat([]string{"kind", "since", "until", "last", "aggregateBy"}, targetParameters,
			rowParameters),
		required: []string{"kind"}, kinds: append(kindsOf(topics), "flowSum"),
		words: map[string][]string{"kind": names(topics)},
		plan: func(a arguments) (*plan, error) {
			topic := named(topics, a.text("kind"))
			p := planned(topic.Words, a)
			p.kinds, p.allowed, p.FromInstalledAgents = []string{topic.Kind}, askTime, true
			if len(a.list("aggregateBy")) > 0 {
				p.kinds = []string{"flowSum"}
			} else if a.text("sortBy") == "" && a.number("last") == 0 {
				p.Flags = append(p.Flags, fmt.Sprintf("--last=%d", p.most))
				p.newest = true
			}
			return p, nil
		},
	}
}

func (s *Server) status() *tool {
	return &tool{
		name: "status", title: "List installed agents",
		description: "List the agents and servers of an installation: whether they are ready, what they record, how " +
			"far their history reaches back, what was lost.",
		parameters: []string{"maxRows"},
		plan: func(a arguments) (*plan, error) {
			p := planned([]string{"status"}, a)
			p.allowed = askTime
			return p, nil
		},
	}
}

func (s *Server) doctor() *tool {
	return &tool{
		name: "doctor", title: "Find out what keeps tracers from running",
		description: "Check the rights of the user and whether the cluster admits tracers, and load all probes in a " +
			"tracer on each node. Each finding has its fix.",
		parameters: []string{"namespace", "node", "gpu", "maxRows"},
		plan: func(a arguments) (*plan, error) {
			p := planned([]string{"doctor"}, a)
			p.allowed = doctorTime
			return p, nil
		},
	}
}

func names(topics []Topic) (all []string) {
	for _, t := range topics {
		all = append(all, t.Name)
	}
	return all
}

// kindsOf are the kinds of the topics' rows, each once.
func kindsOf(topics []Topic) (kinds []string) {
	for _, t := range topics {
		if !slices.Contains(kinds, t.Kind) {
			kinds = append(kinds, t.Kind)
		}
	}
	return kinds
}

// named returns the topic with a name, which the schema has made sure of.
func named(topics []Topic, name string) Topic {
	i := slices.IndexFunc(topics, func(t Topic) bool { return t.Name == name })
	if i < 0 {
		return Topic{}
	}
	return topics[i]
}
