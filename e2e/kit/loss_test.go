package kit

import "testing"

func TestLostOnlyBusy(t *testing.T) {
	for stderr, want := range map[string]bool{
		"":                                    false,
		"3 events from 2 nodes; nothing lost": false,
		"2/2 nodes streaming\n398 events from 2 nodes in 8.8s; LOST 1 at orb8-node1 (kernel-busy, tcp)\n":  true,
		"1 event from 1 node in 8.8s; LOST 1 at n1 (kernel-busy, tcp); 2 at n2 (kernel-busy, flows)":       true,
		"1 event from 1 node in 8.8s; LOST 1 at n1 (kernel-busy, tcp); 3 at n2 (kernel-busy, flows)":       false,
		"9 events from 1 node in 8.8s; LOST 4 at n1 (kernel-busy, tcp)":                                    false,
		"9 events from 1 node in 8.8s; LOST 1 at n1 (kernel-busy, tcp); 1 at n1 (kernel-buffer, tcp)":      false,
		"9 events from 1 node in 8.8s; LOST 1 at n1 (kernel-busy, tcp); all of n2 for 0.1 s":               false,
		"9 events from 1 node in 8.8s; LOST 1 at n1 (kernel-buffer, dns): pod a":                           false,
		"9 packets, 1 KiB from 1 node in 8.8s; LOST 2 at n1 (kernel-busy, capture)\nnote: see the runbook": true,
	} {
		if got := lostOnlyBusy(stderr); got != want {
			t.Errorf("%q: %t, want %t", stderr, got, want)
		}
	}
}
