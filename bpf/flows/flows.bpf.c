//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Hooks:
 * - tp_btf/inet_sock_set_state: a TCP connection opens, closes (tcp.h);
 * - tp_btf/tcp_rcv_space_adjust: runs in the process that reads from a connection: whose it is, and how long the
 *   response has taken (tcp.h, responses.h);
 * - tp_btf/tcp_retransmit_skb: when a request that is lost was first sent (responses.h);
 * - tp_btf/udp_fail_queue_rcv_skb, tp_btf/sock_rcvqueue_full, and before Linux 6.10 tp_btf/kfree_skb: a packet found
 *   its socket's receive buffer full (dropped.h);
 * - tp_btf/tcp_destroy_sock: a socket's place among those that are followed is free (charge.h);
 * - iter/bpf_sk_storage_map: each interval, reports what has changed (tcp.h, packets.h).
 * They need neither kprobes nor tracefs, work under lockdown, and are gone with the process that loaded them.
 * Minimum kernel: 5.10, where they are built with PRE515: for the lack of socket storage in tracing programs (5.11),
 * a hash keeps what is known of a socket, and TCP's scan is iter/bpf_map_elem. Else 5.15. With NOMAPITER hashes keep
 * it, too, and user space runs all scans.
 * Rejected: counting TCP segments per packet, at tc or cgroup_skb, which costs each packet, counts retransmissions as
 * payload, and sees GSO packets in place of segments; kprobes, which some kernels are built without.
 */
#ifdef NOMAPITER
#define PRE515
#endif
#include "dropped.h"
#include "flow.h"
#include "preexisting.h"
#include "packets.h"
#include "tcp.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
