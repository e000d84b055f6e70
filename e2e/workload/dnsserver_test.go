package main

import (
	"net/netip"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

func TestDNSServer_KnowsNamesOutsideCluster(t *testing.T) {
	address := netip.MustParseAddr("10.1.2.3")
	answer := func(q dnsmessage.Question, m *dnsmessage.Message, _ bool) bool {
		answerOutsideCluster(q, m, address)
		return true
	}
	for _, tt := range []struct {
		name    string
		kind    dnsmessage.Type
		code    dnsmessage.RCode
		answers int
	}{
		{"api.example.com.", dnsmessage.TypeA, dnsmessage.RCodeSuccess, 1},
		{"api.example.com.", dnsmessage.TypeAAAA, dnsmessage.RCodeSuccess, 0},
		{"api.example.com.shop.svc.cluster.local.", dnsmessage.TypeA, dnsmessage.RCodeNameError, 0},
	} {
		q := dnsmessage.Message{Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(tt.name), Type: tt.kind,
			Class: dnsmessage.ClassINET}}}
		packed, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		var m dnsmessage.Message
		if err := m.Unpack(dnsReply(packed, false, answer)); err != nil {
			t.Fatal(err)
		}
		if m.RCode != tt.code || len(m.Answers) != tt.answers {
			t.Errorf("%s %s: %s with %d answers, want %s with %d", tt.name, tt.kind, m.RCode, len(m.Answers), tt.code,
				tt.answers)
		}
	}
}
