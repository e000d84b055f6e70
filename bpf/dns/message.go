package dns

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// maxAnswers is how many records of an answer are put into words.
const maxAnswers = 16

// message is what an event holds of a DNS message.
type message struct {
	id        uint16
	response  bool
	truncated bool
	rcode     uint16
	// question is false where there is none, as in some answers that report an error.
	question bool
	name     string // in presentation format, RFC 1035 section 5.1
	kind     uint16 // type of the question
	count    uint16 // records in the answer section
	// answers are addresses and targets, with a comma between two.
	answers string
}

// parse reads a message. Of one that was cut short it keeps what could be read, as long as that holds the question.
func parse(b []byte) (m message, err error) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil {
		return m, err
	}
	m.id, m.response, m.truncated, m.rcode = h.ID, h.Response, h.Truncated, uint16(h.RCode)
	m.count = uint16(b[6])<<8 | uint16(b[7]) // ANCOUNT
	q, err := p.Question()
	if errors.Is(err, dnsmessage.ErrSectionDone) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	m.question, m.name, m.kind = true, present(q.Name), uint16(q.Type)
	if !m.response || p.SkipAllQuestions() != nil {
		return m, nil
	}
	if m.count > 0 {
		m.answers = answers(&p)
	}
	m.rcode = extended(&p, h.RCode)
	return m, nil
}

// extended adds the upper bits of an RCODE, which EDNS has in a record of its own (RFC 6891 section 6.1.3).
func extended(p *dnsmessage.Parser, code dnsmessage.RCode) uint16 {
	if p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return uint16(code)
	}
	for {
		h, err := p.AdditionalHeader()
		if err != nil {
			return uint16(code)
		}
		if h.Type == dnsmessage.TypeOPT {
			return uint16(h.ExtendedRCode(code))
		}
		if p.SkipAdditional() != nil {
			return uint16(code)
		}
	}
}

// answers reads addresses and targets until the section ends, or cannot be read.
func answers(p *dnsmessage.Parser) string {
	var b strings.Builder
	for n := 0; n < maxAnswers; {
		h, err := p.AnswerHeader()
		if err != nil {
			break
		}
		var text string
		switch h.Type {
		case dnsmessage.TypeA:
			if r, err := p.AResource(); err == nil {
				text = netip.AddrFrom4(r.A).String()
			} else {
				return b.String()
			}
		case dnsmessage.TypeAAAA:
			if r, err := p.AAAAResource(); err == nil {
				text = netip.AddrFrom16(r.AAAA).String()
			} else {
				return b.String()
			}
		case dnsmessage.TypeCNAME:
			if r, err := p.CNAMEResource(); err == nil {
				text = present(r.CNAME)
			} else {
				return b.String()
			}
		case dnsmessage.TypePTR:
			if r, err := p.PTRResource(); err == nil {
				text = present(r.PTR)
			} else {
				return b.String()
			}
		case dnsmessage.TypeSRV:
			if r, err := p.SRVResource(); err == nil {
				text = present(r.Target) + ":" + strconv.Itoa(int(r.Port))
			} else {
				return b.String()
			}
		default:
			if p.SkipAnswer() != nil {
				return b.String()
			}
			continue
		}
		if n++; n > 1 {
			b.WriteByte(',')
		}
		b.WriteString(text)
	}
	return b.String()
}

// present formats a name as zone files and dig do: bytes that are not printable ASCII as \DDD.
func present(n dnsmessage.Name) string {
	raw := n.Data[:n.Length]
	printable := true
	for _, c := range raw {
		printable = printable && c > ' ' && c <= '~' && c != '\\'
	}
	if printable {
		return string(raw)
	}
	out := make([]byte, 0, len(raw)+32)
	for _, c := range raw {
		switch {
		case c == '\\':
			out = append(out, '\\', '\\')
		case c > ' ' && c <= '~':
			out = append(out, c)
		default:
			out = append(out, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
		}
	}
	return string(out)
}

// typeNames and codeNames are IANA's.
var typeNames = map[uint16]string{
	1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 13: "HINFO", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV",
	35: "NAPTR", 39: "DNAME",
	43: "DS", 46: "RRSIG", 47: "NSEC", 48: "DNSKEY", 50: "NSEC3", 52: "TLSA", 64: "SVCB", 65: "HTTPS", 251: "IXFR",
	252: "AXFR", 255: "ANY", 257: "CAA",
}

var codeNames = []string{"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET",
	"NXRRSET", "NOTAUTH", "NOTZONE", "DSOTYPENI"}

// typeName is TYPE65280 for a type without a name (RFC 3597).
func typeName(t uint16) string {
	if n, ok := typeNames[t]; ok {
		return n
	}
	return "TYPE" + strconv.Itoa(int(t))
}

// extendedNames are those of the codes that only EDNS has room for.
var extendedNames = map[uint16]string{16: "BADVERS", 17: "BADKEY", 18: "BADTIME", 19: "BADMODE", 20: "BADNAME",
	21: "BADALG", 22: "BADTRUNC", 23: "BADCOOKIE"}

func codeName(c uint16) string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	if n, ok := extendedNames[c]; ok {
		return n
	}
	return "RCODE" + strconv.Itoa(int(c))
}
