package drops

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"github.com/orb8-dev/kubectl-orb8/bpf"
)

const (
	// scanInterval is how often the node's processes are scanned for network namespaces that are gone.
	scanInterval = time.Minute
	// scanPause is the least time between two scans.
	scanPause = 20 * time.Millisecond
	// scanShare is the share of one CPU that scans may take: one in 20.
	scanShare = 20
)

// networks keeps the kernel's table of the pods' network namespaces (network.h).
type networks struct {
	objects *objectObjects
	tasks   *bpf.Iterator
	// grown gets a token when the scope has taken in a cgroup that may hold processes already.
	grown chan struct{}
	// number is that of the newest scan, next the earliest time of another.
	number uint64
	next   time.Time
}

func (n *networks) open(p *Probe) (err error) {
	n.objects, n.grown = &p.objects.objectObjects, make(chan struct{}, 1)
	if n.tasks, err = p.AttachIterator(n.objects.DropsTasks, nil); err != nil {
		return err
	}
	stop := p.options.Scope.OnGrown(func() {
		select {
		case n.grown <- struct{}{}:
		default: // one token is enough
		}
	})
	p.OnClose(func() error { stop(); return nil })
	return n.scan()
}

// scan finds the network namespaces of the processes in scope, and removes those that have none any more.
func (n *networks) scan() error {
	begin := time.Now()
	n.number++
	if err := n.objects.NetworkScan.Set(n.number); err != nil {
		return fmt.Errorf("scan network namespaces: %w", err)
	}
	if err := n.tasks.Run(); err != nil {
		return fmt.Errorf("scan network namespaces: %w", err)
	}
	if err := n.sweep(); err != nil {
		return fmt.Errorf("remove network namespaces: %w", err)
	}
	n.next = time.Now().Add(max(scanPause, scanShare*time.Since(begin)))
	return nil
}

// sweep removes what the newest scan did not find, and counts the rest by pod.
func (n *networks) sweep() error {
	var (
		id    uint64
		value objectNetwork
		gone  []uint64
		pod   uint64
		count uint64
	)
	counts := make(map[uint64]uint64)
	entries := n.objects.Networks.Iterate()
	for entries.Next(&id, &value) {
		if value.Scan < n.number {
			gone = append(gone, id)
		} else {
			counts[value.Cgroup]++
		}
	}
	if err := entries.Err(); errors.Is(err, ebpf.ErrIterationAborted) {
		return nil // many came and went meanwhile: the next scan removes them
	} else if err != nil {
		return err
	}
	for _, id := range gone {
		if err := n.objects.Networks.Delete(id); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
	}
	var none []uint64
	pods := n.objects.NetworkCounts.Iterate()
	for pods.Next(&pod, &count) {
		if counts[pod] == 0 {
			none = append(none, pod)
		}
	}
	if err := pods.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return err
	}
	for _, pod := range none {
		if err := n.objects.NetworkCounts.Delete(pod); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
	}
	for pod, count := range counts {
		if err := n.objects.NetworkCounts.Put(pod, count); err != nil {
			return err
		}
	}
	return nil
}
