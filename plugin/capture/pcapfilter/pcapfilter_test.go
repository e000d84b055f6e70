package pcapfilter

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
)

// expressions are compared with what tcpdump compiles them to.
var expressions = []string{
	"ip", "ip6", "tcp", "udp", "icmp", "icmp6", "sctp", "igmp", "esp", "ah", "not tcp", "! udp", "tcp or udp",
	"tcp && udp || icmp", "tcp or udp and icmp", "not (tcp or udp)", "not not tcp",
	"host 10.0.0.1", "src host 10.0.0.1", "dst host 10.0.0.1", "src 10.0.0.1", "dst fd00::1",
	"src or dst host 10.0.0.1", "src and dst host 10.0.0.1", "dst or src 10.0.0.1",
	"host fd00::1", "src fd00::1", "ip host 10.0.0.1", "ip6 host fd00::1", "host ::ffff:10.0.0.1",
	"net 10.0.0.0/8", "net 10", "net 10.0", "net 10.0.0", "src net 10.0.0.0/31", "dst net 0.0.0.0/0", "net ::/0",
	"net fd00::/8", "src net fd00::/64", "dst net fd00::/127", "net fd00::/33", "net 10.0.0.0 mask 255.255.0.0",
	"ip net 10", "ip6 net fd00::/16",
	"port 80", "tcp port 80", "udp port 53", "sctp port 5", "src port 80", "dst port 443", "src and dst port 80",
	"src or dst port 80", "tcp src port 80", "udp dst port 53", "portrange 50-90", "portrange 90-50",
	"src portrange 0-79", "tcp dst portrange 443-444", "port 0", "portrange 0-65535", "not port 80",
	"port 80 or 443", "port (80 or 443)", "tcp port (80 or 443) and not src net 10", "not port 80 or 443",
	"host 10.0.0.1 or 10.0.0.2", "host (10.0.0.1 or fd00::1)", "tcp port 80 or 443 and not src net 10",
	"not host 10.0.0.1 and 10.0.0.2", "port (80 and not 443)", "port 80 and (tcp or udp) or 53",
	"port 80 or ! 443", "port (not 80)",
	"ip proto 6", "ip6 proto 6", "proto 17", `ip proto \tcp`, `proto \udp`, "proto 6 or 17", "proto 44",
	"less 60", "greater 100", "not less 60", "greater 80 and less 90", "less 70 or tcp",
	"tcp and (port 80 or port 443) and host 10.0.0.1", "host 10.0.0.1 and not (port 53 or icmp or icmp6)",
	"ip6 and tcp port 80", "(tcp)", "((port 80))", "tcp port 80 and src 10.0.0.1 or udp port 53 and dst fd00::1",
	strings.TrimSuffix(strings.Repeat("host 10.9.0.1 or port 9 or ", 30), " or "),
	"not (" + strings.TrimSuffix(strings.Repeat("host fd00::9 or ", 20), " or ") + ")",
}

// machine compiles an expression for golang.org/x/net/bpf's virtual machine.
func machine(tb testing.TB, expression string) *bpf.VM {
	tb.Helper()
	raw, err := Compile(expression)
	if err != nil {
		tb.Fatalf("%s: %v", expression, err)
	}
	return vm(tb, expression, raw)
}

func vm(tb testing.TB, expression string, raw []bpf.RawInstruction) *bpf.VM {
	tb.Helper()
	program, ok := bpf.Disassemble(raw)
	m, err := bpf.NewVM(program)
	if err != nil || !ok {
		tb.Fatalf("%s: %v", expression, err)
	}
	return m
}

// reference compiles an expression with tcpdump. -O leaves out libpcap's optimizer, which makes mistakes: of
// "((port 80) and ((host (10.0.0.1 or fd00::1)) and (ip net 10))) or (host 10.0.0.1 or 10.0.0.2)" it loses the last
// address in version 1.10.3.
func reference(tb testing.TB, expression string) *bpf.VM {
	tb.Helper()
	out, err := exec.Command("tcpdump", "-O", "-ddd", "-y", "RAW", expression).Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) && strings.Contains(string(failed.Stderr), "expression rejects all packets") {
		return vm(tb, expression, []bpf.RawInstruction{{Op: 6}})
	}
	if err != nil {
		tb.Fatalf("tcpdump %s: %v", expression, err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if n, err := strconv.Atoi(lines[0]); err != nil || n != len(lines)-1 {
		tb.Fatalf("tcpdump %s: %s", expression, out)
	}
	var raw []bpf.RawInstruction
	for _, line := range lines[1:] {
		var i bpf.RawInstruction
		if _, err := fmt.Sscan(line, &i.Op, &i.Jt, &i.Jf, &i.K); err != nil {
			tb.Fatal(err)
		}
		raw = append(raw, i)
	}
	return vm(tb, expression, raw)
}

func pick[T any](r *rand.Rand, all ...T) T { return all[r.IntN(len(all))] }

// packet makes a packet of which many an expression matches something.
func packet(r *rand.Rand) []byte {
	b := make([]byte, 100+r.IntN(100))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	protocol := byte(pick(r, 6, 6, 17, 17, 132, 1, 58, 2, 50, 51, 44))
	transport := 40
	address4 := func() []byte {
		return pick(r, []byte{10, 0, 0, 1}, []byte{10, 0, 0, 2}, []byte{10, 1, 2, 3}, b[60:64])
	}
	address6 := func() []byte {
		a := make([]byte, 16)
		a[0], a[15] = 0xfd, pick(r, byte(0), 1, 2)
		return pick(r, a, a, append([]byte{0xfd, 0, 0, 0, 0x80}, a[5:]...), b[60:76],
			[]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1})
	}
	switch r.IntN(10) {
	case 0:
	case 1, 2, 3, 4:
		b[0] = 0x60
		b[6] = protocol
		if r.IntN(4) == 0 {
			b[6], b[40] = 44, protocol
		}
		copy(b[8:], address6())
		copy(b[24:], address6())
	default:
		words := byte(5 + r.IntN(3))
		b[0], b[9] = 0x40|words, protocol
		if r.IntN(4) > 0 {
			b[6], b[7] = 0, 0
		}
		copy(b[12:], address4())
		copy(b[16:], address4())
		transport = int(words) * 4
	}
	for i := range 2 {
		port := pick(r, 80, 443, 53, 444, 5, 0, 79, 91, r.IntN(65536))
		b[transport+2*i], b[transport+2*i+1] = byte(port>>8), byte(port)
	}
	if r.IntN(5) == 0 {
		b = b[:80+r.IntN(20)]
	}
	return b
}

// TestCompile_AsTcpdump compares with libpcap, on packets that are long enough for all loads.
func TestCompile_AsTcpdump(t *testing.T) {
	if _, err := exec.LookPath("tcpdump"); err != nil {
		t.Skip("needs tcpdump")
	}
	r := rand.New(rand.NewPCG(1, 2))
	packets := make([][]byte, 1000)
	for i := range packets {
		packets[i] = packet(r)
	}
	compare := func(t *testing.T, expression string) {
		t.Helper()
		ours, theirs := machine(t, expression), reference(t, expression)
		for _, p := range packets {
			got, err := ours.Run(p)
			want, err2 := theirs.Run(p)
			if err := errors.Join(err, err2); err != nil || (got != 0) != (want != 0) {
				t.Fatalf("%s: got %d, tcpdump %d, %v, of % x", expression, got, want, err, p)
			}
		}
	}
	for _, expression := range expressions {
		compare(t, expression)
	}
	for range 60 {
		compare(t, random(r, 3))
	}
}

// random makes an expression of those that stand alone.
func random(r *rand.Rand, depth int) string {
	if depth == 0 {
		return pick(r, expressions[:70]...)
	}
	switch r.IntN(4) {
	case 0:
		return "not (" + random(r, depth-1) + ")"
	case 1:
		return random(r, depth-1)
	}
	return "(" + random(r, depth-1) + ")" + pick(r, " and ", " or ") + "(" + random(r, depth-1) + ")"
}

func TestCompile_EmptyMatchesAll(t *testing.T) {
	for _, expression := range []string{"", "  "} {
		if raw, err := Compile(expression); raw != nil || err != nil {
			t.Errorf("%v, %v", raw, err)
		}
	}
}

func TestCompile_Errors(t *testing.T) {
	for expression, want := range map[string]string{
		"prot 80":               `column 1: unknown word "prot": want one of ah, dst, esp, greater, host`,
		"tcp and":               "column 8: unexpected end: want a primitive such as host, net, port or tcp",
		"and tcp":               `column 1: unexpected "and": want a primitive`,
		"(tcp":                  `column 5: unexpected end: want the ) of the ( at column 1`,
		"tcp)":                  `column 4: unexpected ")": want and, or, or the end`,
		"tcp udp":               `column 5: unexpected "udp": want and, or, or the end`,
		"port":                  "column 5: unexpected end: want a port",
		"port 70000":            "column 6: port 70000: want 0 to 65535",
		"port domain":           "column 6: port domain: want a number: domain is 53",
		"port 1-2":              "column 6: port 1-2: want 0 to 65535",
		"portrange 80":          "column 11: portrange 80: want two ports, 8000-8080",
		"host web-0":            "column 6: host web-0: want an IP address: names are not looked up",
		"host 10.0.0.1/24":      "column 6: host 10.0.0.1/24: want an address, or net 10.0.0.0/24",
		"host":                  "column 5: unexpected end: want an address",
		"net 10.0.0.1/8":        "column 5: net 10.0.0.1/8: bits beyond the mask are set: want 10.0.0.0/8",
		"net 10.0.0.0/33":       "column 5: net 10.0.0.0/33: want a length of 0 to 32 after the /",
		"net web":               "column 5: net web: want a network such as 10.0.0.0/8",
		"net 10 mask 255.0.1.0": "column 13: mask 255.0.1.0: want ones followed by zeros",
		"net 10 mask":           "column 12: unexpected end: want a mask of IPv4 such as 255.255.0.0",
		"tcp host 10.0.0.1":     "column 5: tcp does not go with host: write tcp and host …",
		"icmp port 5":           "column 6: icmp does not go with port: want tcp, udp or sctp",
		"ip host ::1":           "column 9: ::1 is not of ip",
		"src proto 6":           "column 5: proto has no direction",
		"proto 300":             "column 7: proto 300: want a number of 0 to 255",
		"src":                   "column 4: unexpected end: want host, net, port or portrange",
		"src tcp":               `column 5: unexpected "tcp": want host, net, port or portrange`,
		"10.0.0.1":              `column 1: "10.0.0.1": want what it is before it, as in host 10.0.0.1`,
		"tcp[13] & 2":           `column 1: "tcp[13]": bytes of packets cannot be compared here`,
		"less":                  "column 5: unexpected end: want a length in bytes",
		"less 5000000000":       `column 6: unexpected "5000000000": want a length in bytes`,
		"tcp & udp":             `column 5: unexpected "&": want and, or, or the end`,
		"port 80 or tcp and 53": `column 20: "53": want what it is before it`,
	} {
		raw, err := Compile(expression)
		var of *Error
		if err == nil || !errors.As(err, &of) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %d instructions, %v; want %s", expression, len(raw), err, want)
		}
	}
}

func TestCompile_Limits(t *testing.T) {
	for expression, want := range map[string]string{
		strings.Repeat("(", 200):                   "column 102: more than 100 levels of parentheses and not",
		strings.Repeat("not ", 200) + "tcp":        "more than 100 levels",
		"port 80 or " + strings.Repeat("!", 200):   "more than 100 levels",
		strings.Repeat("tcp or ", 3000):            "column 16385: the expression is too long",
		strings.Repeat("port 80 or ", 200) + "udp": "column 1: the expression is too complex",
	} {
		if raw, err := Compile(expression); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %d instructions, %v; want %s", expression, len(raw), err, want)
		}
	}
}

// FuzzCompile has any text compile to a program that ends, or to an error within it.
func FuzzCompile(f *testing.F) {
	for _, expression := range expressions {
		f.Add(expression)
	}
	packet := packet(rand.New(rand.NewPCG(3, 4)))
	f.Fuzz(func(t *testing.T, expression string) {
		raw, err := Compile(expression)
		var of *Error
		switch {
		case errors.As(err, &of):
			if of.Column < 1 || of.Column > len(expression)+1 && of.Column > maxLength+1 {
				t.Errorf("%q: %v", expression, err)
			}
		case err != nil:
			t.Errorf("%q: %v", expression, err)
		case raw != nil:
			if _, err := vm(t, expression, raw).Run(packet); err != nil {
				t.Errorf("%q: %v", expression, err)
			}
		}
	})
}
