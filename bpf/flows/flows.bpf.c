//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Hooks:
 * - tp_btf/inet_sock_set_state: a TCP connection opens, closes (tcp.h);
 * - tp_btf/tcp_rcv_space_adjust: runs in the process that reads from a connection, once to any effect (tcp.h);
 * - iter/bpf_sk_storage_map: each interval, reports what has changed (tcp.h, packets.h).
 * They need neither kprobes nor tracefs, work under lockdown, and are gone with the process that loaded them.
 * Minimum kernel: 5.15 (socket storage in tracing programs from 5.11, socket cookies there from 5.12, a plain cgroup pointer
 * in sockets from 5.15).
 * Rejected: counting TCP segments per packet, at tc or cgroup_skb, which costs each packet, counts retransmissions as
 * payload, and sees GSO packets in place of segments; kprobes, which some kernels are built without.
 */
#include "flow.h"
#include "older.h"
#include "packets.h"
#include "tcp.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
