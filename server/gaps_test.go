package server

import (
	"fmt"
	"testing"

	"github.com/orb8-dev/kubectl-orb8/event/orbit"
)

func spanText(all []*orbit.Span) (s string) {
	for _, one := range all {
		s += fmt.Sprintf("%d-%d ", one.GetFrom(), one.GetTo())
	}
	return s
}

func TestGaps(t *testing.T) {
	t.Parallel()
	hello := func(instance, since uint64, gaps ...*orbit.Span) *orbit.AgentHello {
		return &orbit.AgentHello{Instance: instance, KnownSince: since, Gaps: gaps}
	}
	var u gaps
	for _, step := range []struct {
		name string
		got  func() []*orbit.Span
		want string
	}{
		{"it begins, at 100", func() []*orbit.Span {
			return u.follow(hello(1, 50, &orbit.Span{From: 60, To: 70}), 100)
		}, ""},
		{"its configuration changes", func() []*orbit.Span {
			return u.follow(hello(1, 50, &orbit.Span{From: 60, To: 70}, &orbit.Span{From: 110, To: 115}), 120)
		}, "110-115 "},
		{"it is cut off", func() []*orbit.Span { return u.cut(130) }, "110-115 130-0 "},
		{"it goes on", func() []*orbit.Span {
			return u.follow(hello(1, 50, &orbit.Span{From: 110, To: 115}, &orbit.Span{From: 125, To: 128}), 130)
		}, "110-115 125-128 "},
		{"it is replaced, by one that does not observe yet", func() []*orbit.Span { return u.follow(hello(2, 0), 140) },
			"110-115 125-128 140-0 "},
		{"which observes", func() []*orbit.Span { return u.follow(hello(2, 150), 140) }, "110-115 125-128 140-150 "},
		{"replaced by one with a history on disk", func() []*orbit.Span {
			return u.follow(hello(3, 20, &orbit.Span{From: 160, To: 170}), 155)
		}, "110-115 125-128 140-150 160-170 "},
	} {
		if got := spanText(step.got()); got != step.want {
			t.Errorf("%s: %s, want %s", step.name, got, step.want)
		}
	}
}

func TestGaps_AreBounded(t *testing.T) {
	t.Parallel()
	h := &orbit.AgentHello{Instance: 1, KnownSince: 1}
	for i := range uint64(10_000) {
		h.Gaps = append(h.Gaps, &orbit.Span{From: 10*i + 10, To: 10*i + 15})
	}
	var g gaps
	if n := len(g.follow(h, 5)); n != orbit.MaxSpans || len(g.present) != orbit.MaxSpans {
		t.Errorf("%d gaps, and %d are kept, want %d", n, len(g.present), orbit.MaxSpans)
	}
}

func TestUnframed(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`closing transport due to: connection error: desc = "error reading from server: EOF", received prior goaway: ` +
			`code: NO_ERROR, debug data: "graceful_stop"`: "its agent ends",
		`connection error: desc = "transport: Error while dialing: dial tcp 10.0.0.1:9090: connect: connection ` +
			`refused"`: "dial tcp 10.0.0.1:9090: connect: connection refused",
		`connection error: desc = "error reading from server: EOF"`: "connection cut: error reading from server: EOF",
		"the server ends": "the server ends",
		`connection error: desc = "transport: authentication handshake failed: x509: certificate has expired or is ` +
			`not yet valid: current time 2026-11-30T05:23:54Z is after 2026-11-30T05:23:28Z"`: "connection cut: " +
			"transport: authentication handshake failed: x509: certificate has expired or is not yet valid",
	} {
		if got := unframed(in); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
