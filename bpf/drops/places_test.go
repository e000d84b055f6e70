package drops

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestParsePlace(t *testing.T) {
	for line, want := range map[string]struct {
		location uint64
		name     string
	}{
		"ffffffff81a2b3c4 nf_hook_slow+0xc4/0xd0":               {0xffffffff81a2b3c4, "nf_hook_slow"},
		"ffffffffc0123456 tun_net_xmit+0x1c/0x30 [tun]":         {0xffffffffc0123456, "tun_net_xmit [tun]"},
		"ffffffff81a2b3c4 tcp_v4_rcv.constprop.0+0x1/0x2":       {0xffffffff81a2b3c4, "tcp_v4_rcv.constprop.0"},
		"ffffffffc0123456 0xffffffffc0123456":                   {},
		"ffffffffc0123456":                                      {},
		"":                                                      {},
		"none nf_hook_slow+0xc4/0xd0":                           {},
		"ffffffffffffffffffffffffffffffff nf_hook_slow+0x1/0x2": {},
		"1 +0x1/0x2":                                            {},
	} {
		location, name, ok := parsePlace([]byte(line))
		if location != want.location || name != want.name || ok != (want.name != "") {
			t.Errorf("%q is %x, %q, %v", line, location, name, ok)
		}
	}
}

func TestPlaces_AreCached(t *testing.T) {
	reads := 0
	p := places{open: func() (io.ReadCloser, error) {
		reads++
		return io.NopCloser(strings.NewReader("a f+0x1/0x2\nb g+0x1/0x2\nc 0xc\n")), nil
	}}
	for location, want := range map[uint64]string{10: "f", 11: "g", 12: "0xc", 13: "0xd"} {
		for range 3 {
			if got, err := p.name(location); got != want || err != nil {
				t.Errorf("%d is %q, %v, want %q", location, got, err, want)
			}
		}
	}
	// One read for the two symbols, at most, and one for each address without a symbol.
	if reads > 3 {
		t.Errorf("the symbols are read %d times", reads)
	}
}

func TestPlaces_ReadErrorIsReturned(t *testing.T) {
	broken := errors.New("broken")
	p := places{open: func() (io.ReadCloser, error) { return nil, broken }}
	if _, err := p.name(1); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func FuzzParsePlace(f *testing.F) {
	f.Add([]byte("ffffffffc0123456 tun_net_xmit+0x1c/0x30 [tun]"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if _, name, ok := parsePlace(line); ok && name == "" {
			t.Errorf("%q has no name", line)
		}
	})
}
