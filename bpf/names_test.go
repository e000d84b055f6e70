package bpf

import "testing"

func TestNamesAreValidAndBounded(t *testing.T) {
	var n Names
	for raw, want := range map[string]string{"dig": "dig", "a\xffb": "a\uFFFDb", "sixteen bytes 16": "sixteen bytes 16",
		"": ""} {
		var comm [16]byte
		copy(comm[:], raw)
		for range 2 {
			if got := n.Of(comm); got != want {
				t.Errorf("%q is %q, want %q", raw, got, want)
			}
		}
	}
	for i := range 3 * maxNames {
		n.Of([16]byte{byte(i), byte(i >> 8)})
	}
	if len(n.known) > maxNames {
		t.Errorf("%d names are remembered", len(n.known))
	}
}

func TestRingSize_IsAPowerOfTwo(t *testing.T) {
	page := RingSize(1)
	for bytes, want := range map[uint32]uint32{page: page, page + 1: 2 * page, 1 << 22: 1 << 22, 1<<22 + 1: 1 << 23} {
		if got := RingSize(bytes); got != want {
			t.Errorf("%d becomes %d, want %d", bytes, got, want)
		}
	}
}
