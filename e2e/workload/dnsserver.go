package main

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// bigAnswer is how many addresses the answer for "big." has, too many for a datagram without EDNS.
const bigAnswer = 40

const (
	// slowAnswer is how long an answer for "slow." takes by UDP.
	slowAnswer = 400 * time.Millisecond
	// retryDelay is the time after which dnsAsk retries a query for such a name, as resolvers do.
	retryDelay = 100 * time.Millisecond
	// badVersion is an RCODE whose upper bits are in the OPT record (RFC 6891).
	badVersion dnsmessage.RCode = 16
)

// dnsServer answers by UDP and TCP until SIGTERM, by UDP after -delay. With -address all names have this address, but
// those below cluster.local do not exist, as those of the Internet with a search domain appended. Otherwise the first
// label of the name selects the answer: nx NXDOMAIN, fail SERVFAIL, silent none, slow a late one, badvers BADVERS, big
// more addresses than fit into a datagram, any other a CNAME and one address.
func dnsServer(ctx context.Context, flags *flag.FlagSet, args []string) error {
	listen := flags.String("listen", ":53", "address and port")
	delay := flags.Duration("delay", 0, "how long an answer by UDP takes")
	silent := flags.Bool("silent", false, "answer no query by UDP")
	address := flags.String("address", "", "IPv4 address of all names outside cluster.local")
	if err := flags.Parse(args); err != nil {
		return err
	}
	answer := answerByLabel
	if *address != "" {
		a, err := netip.ParseAddr(*address)
		if err != nil || !a.Is4() {
			return fmt.Errorf("-address %q: want an IPv4 address", *address)
		}
		answer = func(q dnsmessage.Question, m *dnsmessage.Message, _ bool) bool {
			answerOutsideCluster(q, m, a)
			return true
		}
	}
	u, err := net.ListenPacket("udp", *listen)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	stopUDP, stopTCP := closeOnDone(ctx, u), closeOnDone(ctx, l)
	defer stopUDP()
	defer stopTCP()
	printReport(report.Report{Kind: report.Listening})
	var running sync.WaitGroup
	running.Go(func() {
		b := make([]byte, 4096)
		for {
			n, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			if *silent {
				continue
			}
			a := dnsReply(b[:n], false, answer)
			reply := func() {
				_, _ = u.WriteTo(a, from) // the client reports a timeout
			}
			switch {
			case a == nil:
			case strings.HasPrefix(string(a[12:]), "\x04slow"):
				time.AfterFunc(slowAnswer, reply)
			case *delay > 0:
				time.AfterFunc(*delay, reply)
			default:
				reply()
			}
		}
	})
	for {
		c, err := l.Accept()
		if err != nil {
			break
		}
		running.Go(func() {
			defer c.Close()
			for {
				m, err := readFramed(c)
				if err != nil {
					return
				}
				a := dnsReply(m, true, answer)
				if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...)); err != nil {
					return
				}
			}
		})
	}
	running.Wait()
	return nil
}

func readFramed(c net.Conn) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	m := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(c, m)
	return m, err
}

// dnsReply returns the answer to a query, or nil if there is none.
func dnsReply(b []byte, tcp bool, answer func(q dnsmessage.Question, m *dnsmessage.Message, tcp bool) bool) []byte {
	var q dnsmessage.Message
	if q.Unpack(b) != nil || len(q.Questions) != 1 {
		return nil
	}
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: q.ID, Response: true, RecursionAvailable: true},
		Questions: q.Questions}
	if !answer(q.Questions[0], &m, tcp) {
		return nil
	}
	packed, err := m.Pack()
	if err != nil {
		return nil
	}
	return packed
}

// addressRecord returns an A record.
func addressRecord(name dnsmessage.Name, a [4]byte) dnsmessage.Resource {
	return dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 1},
		Body: &dnsmessage.AResource{A: a}}
}

// answerOutsideCluster answers for a server whose names outside cluster.local all have an address.
func answerOutsideCluster(q dnsmessage.Question, m *dnsmessage.Message, address netip.Addr) {
	switch {
	case strings.HasSuffix(q.Name.String(), ".cluster.local."):
		m.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA:
		m.Answers = []dnsmessage.Resource{addressRecord(q.Name, address.As4())}
	}
}

// answerByLabel answers as the first label of the name selects. It reports whether there is an answer.
func answerByLabel(q dnsmessage.Question, m *dnsmessage.Message, tcp bool) bool {
	name := q.Name
	label, _, _ := strings.Cut(name.String(), ".")
	switch label {
	case "silent":
		return false
	case "nx":
		m.RCode = dnsmessage.RCodeNameError
	case "fail":
		m.RCode = dnsmessage.RCodeServerFailure
	case "badvers":
		var opt dnsmessage.ResourceHeader
		if opt.SetEDNS0(1232, badVersion, false) != nil {
			return false
		}
		m.RCode = badVersion & 15
		m.Additionals = []dnsmessage.Resource{{Header: opt, Body: &dnsmessage.OPTResource{}}}
	case "big":
		if !tcp {
			m.Truncated = true
			break
		}
		for i := range bigAnswer {
			m.Answers = append(m.Answers, addressRecord(name, [4]byte{10, 9, 0, byte(i)}))
		}
	default:
		alias := dnsmessage.MustNewName("alias.example.")
		m.Answers = []dnsmessage.Resource{
			{Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 1},
				Body: &dnsmessage.CNAMEResource{CNAME: alias}},
			addressRecord(alias, [4]byte{10, 9, 8, 7}),
		}
	}
	return true
}

// dnsAsk sends a query for the A records of each name to a server, and reports each query: by UDP with EDNS, by TCP
// with -tcp or after a truncated answer. For a name that begins with "slow." it retries by UDP, and waits for both
// answers.
func dnsAsk(ctx context.Context, flags *flag.FlagSet, args []string) error {
	to := flags.String("to", "", "address and port of the server")
	tcp := flags.Bool("tcp", false, "ask by TCP")
	wait := flags.Duration("wait", time.Second, "how long to wait for an answer")
	if err := flags.Parse(args); err != nil {
		return err
	}
	for i, name := range flags.Args() {
		truncated, err := askOne(*to, uint16(i+1), name, *tcp, *wait)
		if err == nil && truncated {
			_, err = askOne(*to, uint16(i+1), name, true, *wait)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func askOne(to string, id uint16, name string, tcp bool, wait time.Duration) (truncated bool, err error) {
	n, err := dnsmessage.NewName(name)
	if err != nil {
		return false, err
	}
	var edns dnsmessage.ResourceHeader
	if err := edns.SetEDNS0(1232, dnsmessage.RCodeSuccess, false); err != nil {
		return false, err
	}
	q := dnsmessage.Message{
		Header:      dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions:   []dnsmessage.Question{{Name: n, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
		Additionals: []dnsmessage.Resource{{Header: edns, Body: &dnsmessage.OPTResource{}}},
	}
	b, err := q.Pack()
	if err != nil {
		return false, err
	}
	r := report.Report{Kind: report.Conversation, Side: "client", Protocol: "udp", Name: name}
	network := "udp"
	if tcp {
		network, r.Protocol = "tcp", "tcp"
		b = append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
	}
	c, err := net.Dial(network, to)
	if err != nil {
		return false, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(wait)); err != nil {
		return false, err
	}
	r.Start = time.Now()
	if _, err := c.Write(b); err != nil {
		return false, err
	}
	retry := !tcp && strings.HasPrefix(name, "slow.")
	if retry {
		time.Sleep(retryDelay)
		if _, err := c.Write(b); err != nil {
			return false, err
		}
	}
	answer := make([]byte, 4096)
	if tcp {
		answer, err = readFramed(c)
	} else {
		var size int
		size, err = c.Read(answer)
		answer = answer[:size]
	}
	r.End, r.Local, r.Remote = time.Now(), addrPort(c.LocalAddr()), addrPort(c.RemoteAddr())
	if retry && err == nil {
		if _, err := c.Read(make([]byte, 4096)); err != nil {
			return false, err
		}
	}
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		r.Error = "timeout"
	case err != nil:
		return false, err
	default:
		var m dnsmessage.Message
		if err := m.Unpack(answer); err != nil {
			return false, err
		}
		r.Status, truncated = uint32(m.RCode), m.Truncated
		for _, a := range m.Additionals {
			if a.Header.Type == dnsmessage.TypeOPT {
				r.Status = uint32(a.Header.ExtendedRCode(m.RCode))
			}
		}
	}
	printReport(r)
	return truncated, nil
}
