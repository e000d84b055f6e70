package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orb8-dev/kubectl-orb8/e2e/workload/report"
)

// tcpClose is TCP_CLOSE of include/net/tcp_states.h. A socket still held open is in it once both FINs are acknowledged;
// the end that closed first hands its TIME_WAIT to a smaller structure and is in it too.
const tcpClose = 7

// finalInfo reads the connection's counters once they are final. The kernel does not notify a program of the last
// acknowledgement, so finalInfo polls the state.
func finalInfo(ctx context.Context, c *net.TCPConn) (*report.TCPInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	for {
		info, err := tcpInfo(c)
		if err != nil || info.State == tcpClose {
			return info, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("connection stays in state %d: %w", info.State, ctx.Err())
		case <-tick.C:
		}
	}
}

func tcpInfo(c *net.TCPConn) (*report.TCPInfo, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var info *unix.TCPInfo
	var infoErr error
	if err := raw.Control(func(fd uintptr) {
		info, infoErr = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	}); err != nil {
		return nil, err
	}
	if infoErr != nil {
		return nil, fmt.Errorf("read TCP_INFO: %w", infoErr)
	}
	return &report.TCPInfo{
		State:         info.State,
		SegsOut:       info.Segs_out,
		SegsIn:        info.Segs_in,
		DataSegsOut:   info.Data_segs_out,
		DataSegsIn:    info.Data_segs_in,
		TotalRetrans:  info.Total_retrans,
		BytesSent:     info.Bytes_sent,
		BytesAcked:    info.Bytes_acked,
		BytesReceived: info.Bytes_received,
		BytesRetrans:  info.Bytes_retrans,
		RTT:           info.Rtt,
	}, nil
}

// addrPort returns IPv4 addresses as such, also those that a dual-stack socket reports as IPv4-mapped.
func addrPort(a net.Addr) netip.AddrPort {
	p, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(p.Addr().Unmap().WithZone(""), p.Port())
}
